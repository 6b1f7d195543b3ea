"""A spectral trunk for SoundStream: ConvNeXt blocks on short-time spectra, at one rate from end to end.

The paper's trunk works at 24 kHz and above all costs time there. Here the Fourier transform does the change
of rate: encoder and decoder run at the codes' 50 frames/s only, and the decoder's last layer gives a
spectrum, which the inverse transform turns into sound (as in Vocos, arXiv 2306.00814).

The codes say nothing about phase (`phase.py` tells why). In training the decoder is given the phases of the
target, so that it learns magnitudes by any loss on waveforms; afterwards it invents them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musiclm.tokenizers.phase import invent_phase
from musiclm.tokenizers.running_norm import RunningNorm

KERNEL_SIZE = 7  # frames; ConvNeXt, arXiv 2201.03545, sec. 2.5
MIN_MAGNITUDE = 1e-4
INITIAL_LOG_MAGNITUDE = -4.0  # an untrained decoder is quiet
MAX_LOG_MAGNITUDE = 5.0


class Spectrum(nn.Module):
    """Short-time Fourier transform with exactly one frame per hop, and its inverse.

    A frame is `window` samples around the middle of its hop, so L = T * hop samples give T frames and T
    frames give back L samples. Phase counts from that middle. The signal is taken to be silent outside.
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
        return torch.fft.rfft(frames.roll(-(self.size // 2), dims=-1), norm="ortho")

    def inverse(self, spectra: Tensor) -> Tensor:
        """Waveform [B, 1, T * hop] of complex spectra [B, T, F], by weighted overlap-add."""
        frames = torch.fft.irfft(spectra, n=self.size, norm="ortho").roll(self.size // 2, dims=-1)
        signal = self._overlap_add(frames * self.window)
        weight = self._overlap_add(self.window.square().expand(1, frames.shape[1], -1))
        return signal / weight.clamp_min(1e-3)

    def sound(self, magnitude: Tensor, begun: Tensor | None = None) -> Tensor:
        """Waveform [B, 1, T * hop] of magnitudes [B, T, F]; phases beyond its beginning are invented.

        Args:
            magnitude: non-negative.
            begun: [B, 1, n * hop], n <= T, how the waveform begins; frames that lie within keep its phases.
        """
        batch, num_frames, num_bins = magnitude.shape
        known = magnitude.new_zeros(batch, 0, num_bins, dtype=torch.complex64)
        if begun is not None:
            known = self(begun)
            if known.shape[1] == num_frames:
                return self.inverse(torch.polar(magnitude, known.angle()))
            beyond = -(-self.margin // self.hop)  # frames that reach over its end
            known = known[:, : max(known.shape[1] - beyond, 0)]
        return self.inverse(
            invent_phase(magnitude, known, hop=self.hop, consistent=lambda s: self(self.inverse(s)))
        )

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
    """Waveform [B, 1, T * hop] to latents [B, dimension, T], by way of each bin's log magnitude."""

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
        self.standardise = RunningNorm(self.spectrum.num_bins)
        self.embed = nn.Linear(self.spectrum.num_bins, width)
        self.norm_in = nn.LayerNorm(width)
        self.blocks = blocks(width, hidden, depth)
        self.norm_out = nn.LayerNorm(width)
        self.project = nn.Linear(width, dimension)

    def forward(self, waveform: Tensor) -> Tensor:
        level = self.spectrum(waveform).abs().clamp_min(MIN_MAGNITUDE).log()  # [B, T, F]
        frames = self.blocks(self.norm_in(self.embed(self.standardise(level))))
        return self.project(self.norm_out(frames)).transpose(1, 2)  # [B, D, T]


class ConvNeXtDecoder(nn.Module):
    """Latents [B, dimension, T] to waveform [B, 1, T * hop]; the head gives each bin a log magnitude."""

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
        self.head = nn.Linear(width, self.spectrum.num_bins)
        nn.init.constant_(self.head.bias, INITIAL_LOG_MAGNITUDE)

    def forward(self, latents: Tensor, begun: Tensor | None = None) -> Tensor:
        """The sound of `latents`, running on in phase from `begun`.

        Args:
            latents: [B, dimension, T].
            begun: [B, 1, n * hop], n <= T: the sound's beginning, whose phases are kept; in training, all.
        """
        frames = self.norm_in(self.embed(latents).transpose(1, 2))  # [B, T, D]
        level = self.head(self.norm_out(self.blocks(frames))).float()  # [B, T, F]
        return self.spectrum.sound(level.clamp_max(MAX_LOG_MAGNITUDE).exp(), begun)
