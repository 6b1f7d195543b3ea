"""Continuous latents of a waveform, learned as such, and back: what a diffusion makes sound by.

MeLoDy's audio VAE-GAN (2305.15719, sec. 3.4) is one that is variational: the encoder says mean and variance,
a penalty holds them near a standard normal, and the latents are squashed to [-1, 1]. JEN-1's masked
autoencoder (2308.04729, sec. 4.1) is one that is not: some of its latents are left out in training, so that
the decoder forgives what a diffusion gets wrong. Encoder and decoder are injected, as those of the codec.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from musiclm.tokenizers.checks import check_waveform

REACH = 3.3  # deviations that become 1: of a standard normal, less than 0.1 % lies beyond and is cut off
LEAST, MOST = -20.0, 10.0  # of the logarithm of a variance


class Reconstruction(NamedTuple):
    """What comes back in training.

    Attributes:
        waveform: [B, C, L], as long as the input.
        divergence: [] Kullback-Leibler divergence of the latents from a standard normal, in nats a value; 0
            where the autoencoder is not variational.
    """

    waveform: Tensor
    divergence: Tensor


class WaveformAutoencoder(nn.Module):
    """An `Autoencoder` that is learned.

    Args:
        encoder: waveform [B, C, T * hop_length] to [B, D, T], or [B, 2 D, T] where it is variational: means,
            and logarithms of variances.
        decoder: latents [B, D, T] to waveform [B, C, T * hop_length]; its second argument is how the waveform
            begins, or None.
        dimension: D.
        hop_length: samples per frame.
        sample_rate: Hz.
        channels: C.
        variational: whether the encoder says how sure it is.

    Raises:
        ValueError: a size is none.
    """

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        dimension: int,
        hop_length: int,
        sample_rate: int = 24_000,
        channels: int = 1,
        variational: bool = True,
    ) -> None:
        super().__init__()
        if min(dimension, hop_length, sample_rate, channels) < 1:
            raise ValueError(
                "expected a dimension, hop, sample rate and channels of 1 or more, got "
                f"{dimension}, {hop_length}, {sample_rate}, {channels}"
            )
        self.encoder = encoder
        self.decoder = decoder
        self.dimension = dimension
        self.hop_length = hop_length
        self.sample_rate = sample_rate
        self.channels = channels
        self.variational = variational

    @property
    def frame_rate(self) -> float:
        """Latents per second."""
        return self.sample_rate / self.hop_length

    def forward(self, waveform: Tensor, *, masked: float = 0.0) -> Reconstruction:
        """Waveform [B, C, L] through the latents and back.

        Args:
            waveform: in [-1, 1].
            masked: share of the frames whose latents are left out, at random (JEN-1: 0.05).
        """
        padded = self._pad(waveform)
        mean, log_variance = self._encode(padded)
        divergence, latents = mean.new_zeros(()), mean
        if log_variance is not None:
            divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
            latents = self._squash(mean + torch.randn_like(mean) * (0.5 * log_variance).exp())
        if masked:
            kept = torch.rand(len(latents), 1, latents.shape[2], device=latents.device) >= masked
            latents = latents * kept
        output = self.decoder(self._spread(latents), padded)
        return Reconstruction(output[..., : waveform.shape[2]], divergence)

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Latents [B, D, T] of a waveform [B, C, L] in [-1, 1], T = ceil(L / hop_length)."""
        check_waveform(waveform, channels=self.channels)
        mean, log_variance = self._encode(self._pad(waveform))
        return mean if log_variance is None else self._squash(mean)

    @torch.no_grad()
    def decode(self, latents: Tensor, *, prefix: Tensor | None = None) -> Tensor:
        """Waveform [B, C, T * hop_length] in [-1, 1] of latents [B, D, T]; see `Autoencoder.decode`."""
        if latents.dim() != 3 or latents.shape[1] != self.dimension:
            raise ValueError(f"expected latents [B, {self.dimension}, T], got {tuple(latents.shape)}")
        waveform: Tensor = self.decoder(self._spread(latents), prefix)
        return waveform.clamp(-1.0, 1.0)

    def _encode(self, padded: Tensor) -> tuple[Tensor, Tensor | None]:
        """Means [B, D, T], and logarithms of variances where there are any."""
        encoded: Tensor = self.encoder(padded)
        if not self.variational:
            return encoded, None
        mean, log_variance = encoded.chunk(2, dim=1)
        return mean, log_variance.clamp(LEAST, MOST)

    def _squash(self, values: Tensor) -> Tensor:
        return (values / REACH).clamp(-1.0, 1.0)

    def _spread(self, latents: Tensor) -> Tensor:
        return latents * REACH if self.variational else latents

    def _pad(self, waveform: Tensor) -> Tensor:
        return functional.pad(waveform, (0, -waveform.shape[2] % self.hop_length))
