"""How near decoded sound is to the original: what a codec is measured by, in training and in evaluation.

Waveforms are [B, 1, L].
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MelSpectrogram(nn.Module):
    """Magnitude mel spectrogram [B, bands, frames] of a waveform [B, 1, L]."""

    window: Tensor
    filters: Tensor

    def __init__(self, sample_rate: int, *, window: int, hop: int, bands: int) -> None:
        super().__init__()
        self.size, self.hop = window, hop
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        self.register_buffer("filters", mel_filters(sample_rate, window, bands), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        margin = (self.size - self.hop) // 2
        padded = F.pad(waveform[:, 0].float(), (margin, self.size - self.hop - margin))
        frames = padded.unfold(-1, self.size, self.hop) * self.window
        power = torch.view_as_real(torch.fft.rfft(frames)).square().sum(dim=-1)  # [B, frames, bins]
        # The root's gradient is infinite at zero. Scaled so that a full-scale sine is about 1 at any window.
        magnitude = (power + 1e-8).sqrt() * (4.0 / self.size)
        with torch.autocast(waveform.device.type, enabled=False):
            return (magnitude @ self.filters).transpose(1, 2)


class MelDistance(nn.Module):
    """Mean absolute difference of log10 mel magnitudes: the figure a codec is judged by (0 is perfect).

    Magnitudes below 1e-5 of full scale count as silence.

    Args:
        sample_rate: Hz.
        windows: sizes in samples, over which the mean is taken; the hop is a quarter of each.
        bands: mel bands at every window; a band narrower than a window's bin spacing is dropped.
    """

    def __init__(self, sample_rate: int, *, windows: tuple[int, ...] = (1024,), bands: int = 80) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            MelSpectrogram(sample_rate, window=window, hop=window // 4, bands=bands) for window in windows
        )

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        distances = [(log10(mel(output)) - log10(mel(target))).abs().mean() for mel in self.scales]
        return torch.stack(distances).mean()


def log10(magnitude: Tensor) -> Tensor:
    """Logarithm to base 10, with a floor at 1e-5 (-100 dB)."""
    return magnitude.clamp_min(1e-5).log10()


def si_sdr(output: Tensor, target: Tensor) -> Tensor:
    """Scale-invariant signal-to-distortion ratio in dB, per example [B] (arXiv 1811.02508)."""
    output = output.flatten(1) - output.flatten(1).mean(dim=1, keepdim=True)
    target = target.flatten(1) - target.flatten(1).mean(dim=1, keepdim=True)
    energy = target.square().sum(dim=1, keepdim=True)
    projection = target * (output * target).sum(dim=1, keepdim=True) / (energy + 1e-8)
    noise = (output - projection).square().sum(dim=1)
    return 10.0 * ((projection.square().sum(dim=1) + 1e-8) / (noise + 1e-8)).log10()


def perplexity(uses: Tensor) -> Tensor:
    """How many entries of a codebook are in use, weighted by how much: exp of the entropy.

    Args:
        uses: [..., codebook_size], how often each entry was chosen.
    """
    shares = uses / uses.sum(dim=-1, keepdim=True).clamp_min(1.0)
    return torch.special.entr(shares).sum(dim=-1).exp()


def mel_filters(sample_rate: int, window: int, bands: int) -> Tensor:
    """Triangular filters [window // 2 + 1, bands], each summing to 1 over the bins it covers.

    Bands that cover no bin, at low frequencies of short windows, are left out.
    """
    top = 2595.0 * math.log10(1.0 + sample_rate / 2 / 700.0)  # the mel scale of HTK
    edges = 700.0 * (10.0 ** (torch.linspace(0.0, top, bands + 2) / 2595.0) - 1.0)  # Hz
    frequency = torch.linspace(0.0, sample_rate / 2, window // 2 + 1)[:, None]
    rising = (frequency - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequency) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp_min(0.0)
    filters = filters[:, filters.sum(dim=0) > 0]
    return filters / filters.sum(dim=0)
