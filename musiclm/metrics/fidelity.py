"""How near decoded sound is to the original: what a codec is measured by, in training and in evaluation.

Waveforms are [B, 1, L].
"""

import warnings

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
    """Scale-invariant signal-to-distortion ratio in dB, per example [B] (arXiv 1811.02508).

    torchmetrics says the same of sound; its larger constant beside the energies moves what is said of near
    silence by up to 11 dB, and with it the mean over crops that hold some.
    """
    output = output.flatten(1) - output.flatten(1).mean(dim=1, keepdim=True)
    target = target.flatten(1) - target.flatten(1).mean(dim=1, keepdim=True)
    energy = target.square().sum(dim=1, keepdim=True)
    projection = target * (output * target).sum(dim=1, keepdim=True) / (energy + 1e-8)
    noise = (output - projection).square().sum(dim=1)
    return 10.0 * ((projection.square().sum(dim=1) + 1e-8) / (noise + 1e-8)).log10()


def mel_filters(sample_rate: int, window: int, bands: int) -> Tensor:
    """Triangular filters [window // 2 + 1, bands] on HTK's mel scale, each summing to 1 over its bins.

    Bands that cover no bin, at low frequencies of short windows, are left out.
    """
    from torchaudio.functional import melscale_fbanks

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="At least one mel filterbank has all zero values")
        filters = melscale_fbanks(window // 2 + 1, 0.0, sample_rate / 2, bands, sample_rate)
    filters = filters[:, filters.sum(dim=0) > 0]
    return filters / filters.sum(dim=0)
