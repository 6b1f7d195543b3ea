"""A spectral trunk for SoundStream: ConvNeXt blocks on short-time spectra, at one rate from end to end.

The paper's trunk works at 24 kHz and above all costs time there. Here the Fourier transform does the change
of rate: encoder and decoder run at the codes' 50 frames/s only, and the decoder's last layer gives a
spectrum, which the inverse transform turns into sound (as in Vocos, arXiv 2306.00814).
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musiclm.tokenizers.running_norm import RunningNorm

KERNEL_SIZE = 7  # frames; ConvNeXt, arXiv 2201.03545, sec. 2.5
MIN_MAGNITUDE = 1e-4
INITIAL_LOG_GAIN = -3.0  # an untrained decoder is quiet
MAX_LOG_GAIN = 7.0


class Spectrum(nn.Module):
    """Short-time Fourier transform with exactly one frame per hop, and its inverse.

    A frame is `window` samples around the middle of its hop, so L = T * hop samples give T frames and T
    frames give back L samples. The signal is taken to be silent outside.
    """

    window: Tensor

    def __init__(self, window: int, hop: int) -> None:
        super().__init__()
        if window % hop != 0 or (window - hop) % 2 != 0:
            raise ValueError(f"expected a window of whole hops, got a window of {window} and a hop of {hop}")
        self.size, self.hop = window, hop
        self.margin = (window - hop) // 2
        self.register_buffer("window", torch.hann_window(window), persistent=False)

    @property
    def num_bins(self) -> int:
        return self.size // 2 + 1

    def forward(self, waveform: Tensor) -> Tensor:
        """Complex spectra [B, T, F] of a waveform [B, 1, T * hop]."""
        padded = F.pad(waveform[:, 0].float(), (self.margin, self.margin))  # [B, L + window - hop]
        frames = padded.unfold(-1, self.size, self.hop) * self.window  # [B, T, window]
        return torch.fft.rfft(frames, norm="ortho")

    def inverse(self, spectra: Tensor) -> Tensor:
        """Waveform [B, 1, T * hop] of complex spectra [B, T, F], by weighted overlap-add."""
        frames = torch.fft.irfft(spectra, n=self.size, norm="ortho") * self.window  # [B, T, window]
        signal = self._overlap_add(frames)
        weight = self._overlap_add(self.window.square().expand(1, frames.shape[1], -1))
        return signal / weight.clamp_min(1e-3)

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """Sum [B, 1, T * hop] of frames [B, T, window] laid a hop apart, without the margins."""
        length = (frames.shape[1] - 1) * self.hop + self.size
        columns = frames.transpose(1, 2)  # [B, window, T]
        signal = F.fold(columns, (1, length), kernel_size=(1, self.size), stride=(1, self.hop))[:, :, 0]
        return signal[..., self.margin : length - self.margin]


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a perceptron per frame, added to the input [B, T, D]."""

    def __init__(self, width: int, hidden: int, *, scale: float) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, KERNEL_SIZE, padding=KERNEL_SIZE // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, frames: Tensor) -> Tensor:
        mixed = self.mix(frames.transpose(1, 2)).transpose(1, 2)  # [B, T, D]
        return frames + self.scale * self.contract(F.gelu(self.expand(self.norm(mixed))))


def blocks(width: int, hidden: int, depth: int) -> nn.Sequential:
    """`depth` blocks whose residual branches begin small, so that a deep stack begins near the identity."""
    return nn.Sequential(*[ConvNeXtBlock(width, hidden, scale=1.0 / depth) for _ in range(depth)])


class ConvNeXtEncoder(nn.Module):
    """Waveform [B, 1, T * hop] to latents [B, dimension, T].

    It sees each bin's log magnitude, and its complex value with the magnitude compressed to a square root:
    how loud, and at which phase, with less said about the phase of what is hardly there.
    """

    def __init__(
        self,
        dimension: int,
        *,
        width: int = 256,
        hidden: int = 768,
        depth: int = 4,
        window: int = 1920,
        hop: int = 480,
    ) -> None:
        super().__init__()
        self.spectrum = Spectrum(window, hop)
        self.standardise = RunningNorm(3 * self.spectrum.num_bins)
        self.embed = nn.Linear(3 * self.spectrum.num_bins, width)
        self.norm_in = nn.LayerNorm(width)
        self.blocks = blocks(width, hidden, depth)
        self.norm_out = nn.LayerNorm(width)
        self.project = nn.Linear(width, dimension)

    def forward(self, waveform: Tensor) -> Tensor:
        spectra = self.spectrum(waveform)  # [B, T, F]
        magnitude = spectra.abs().clamp_min(MIN_MAGNITUDE)
        compressed = torch.view_as_real(spectra * magnitude.rsqrt()).flatten(-2)  # [B, T, 2F]
        features = torch.cat([magnitude.log(), compressed], dim=-1)  # [B, T, 3F]
        frames = self.blocks(self.norm_in(self.embed(self.standardise(features))))
        return self.project(self.norm_out(frames)).transpose(1, 2)  # [B, D, T]


class ConvNeXtDecoder(nn.Module):
    """Latents [B, dimension, T] to waveform [B, 1, T * hop].

    The head gives each bin a complex value and a log gain. With a phase angle in the value's place (Vocos),
    the phase, and with it the waveform, is learned far more slowly.
    """

    def __init__(
        self,
        dimension: int,
        *,
        width: int = 384,
        hidden: int = 1152,
        depth: int = 8,
        window: int = 1920,
        hop: int = 480,
    ) -> None:
        super().__init__()
        self.spectrum = Spectrum(window, hop)
        self.embed = nn.Conv1d(dimension, width, KERNEL_SIZE, padding=KERNEL_SIZE // 2)
        self.norm_in = nn.LayerNorm(width)
        self.blocks = blocks(width, hidden, depth)
        self.norm_out = nn.LayerNorm(width)
        self.head = nn.Linear(width, 3 * self.spectrum.num_bins)
        with torch.no_grad():
            self.head.bias[: self.spectrum.num_bins] = INITIAL_LOG_GAIN

    def forward(self, latents: Tensor) -> Tensor:
        frames = self.norm_in(self.embed(latents).transpose(1, 2))  # [B, T, D]
        output = self.head(self.norm_out(self.blocks(frames))).float()
        log_gain, real, imaginary = output.chunk(3, dim=-1)  # [B, T, F] each
        gain = log_gain.clamp_max(MAX_LOG_GAIN).exp()
        return self.spectrum.inverse(torch.complex(gain * real, gain * imaginary))
