"""Listeners that tell decoded sound from real.

SoundStream's are three on waveforms and one on spectra (sec. III-D); MeLoDy's hear every p-th sample, and
spectra of several resolutions. Each takes a waveform [B, 1, L] and returns its layers' outputs, the logits
last. `width` sets their cost.
"""

from collections.abc import Iterable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musiclm.training.codec_losses import FeatureMaps

SLOPE = 0.2  # of the leaky rectifiers; MelGAN, arXiv 1910.06711
DOWNSAMPLING = (1, 2, 4)  # SoundStream, sec. III-D


class WaveformDiscriminator(nn.Module):
    """Four strided convolutions of groups of four over the waveform, averaged down by `factor` first."""

    def __init__(self, factor: int, *, width: int) -> None:
        super().__init__()
        self.factor = factor
        widths = [width, 4 * width, 16 * width, 64 * width, 64 * width]  # up to 1024 in the paper
        layers = [nn.Conv1d(1, width, 15, padding=7)]
        for before, after in pairwise(widths):
            layers.append(nn.Conv1d(before, after, 41, stride=4, padding=20, groups=before // 4))
        layers.append(nn.Conv1d(widths[-1], widths[-1], 5, padding=2))
        layers.append(nn.Conv1d(widths[-1], 1, 3, padding=1))
        self.layers = nn.ModuleList(layers)

    def forward(self, waveform: Tensor) -> list[Tensor]:
        return through(self.layers, F.avg_pool1d(waveform, self.factor))


class ResidualUnit(nn.Module):
    """A 3 × 3 convolution and a strided one, beside a strided 1 × 1 (SoundStream, fig. 4): [B, C, T, F]."""

    def __init__(self, before: int, after: int, stride: tuple[int, int]) -> None:
        super().__init__()
        self.first = nn.Conv2d(before, before, 3, padding=1)
        kernel = (stride[0] + 2, stride[1] + 2)
        self.second = nn.Conv2d(before, after, kernel, stride=stride, padding=1)
        self.shortcut = nn.Conv2d(before, after, 1, stride=stride)

    def forward(self, signal: Tensor) -> Tensor:
        inner = self.second(F.leaky_relu(self.first(signal), SLOPE))
        return inner + self.shortcut(signal)[:, :, : inner.shape[2]]  # an odd length leaves it one row more


class SpectrumDiscriminator(nn.Module):
    """Residual units over time and frequency of a complex short-time spectrum (window 1024, hop 256)."""

    window: Tensor

    def __init__(self, *, width: int, window: int = 1024, hop: int = 256) -> None:
        super().__init__()
        self.size, self.hop = window, hop
        self.register_buffer("window", torch.hann_window(window), persistent=False)
        widths = [width * factor for factor in (1, 2, 4, 4, 8, 8, 16)]
        units = [
            ResidualUnit(before, after, (1 + index % 2, 2))
            for index, (before, after) in enumerate(pairwise(widths))
        ]
        bins = window // 2 // 2 ** len(units)
        first, last = nn.Conv2d(2, width, 7, padding=3), nn.Conv2d(widths[-1], 1, (1, bins))
        self.layers = nn.ModuleList([first, *units, last])

    def forward(self, waveform: Tensor) -> list[Tensor]:
        margin = (self.size - self.hop) // 2
        frames = F.pad(waveform[:, 0].float(), (margin, margin)).unfold(-1, self.size, self.hop) * self.window
        spectra = torch.fft.rfft(frames, norm="ortho")[..., : self.size // 2]  # [B, T, F], F a power of two
        planes = torch.view_as_real(spectra).permute(0, 3, 1, 2)  # [B, 2, T, F]
        return through(self.layers, planes.contiguous())  # else: crashes in oneDNN, of torch 2.9.1 on a CPU


class PeriodDiscriminator(nn.Module):
    """Convolutions over every p-th sample, [B, 1, L / p, p] (HiFi-GAN, 2010.05646, sec. 2.3)."""

    def __init__(self, period: int, *, width: int) -> None:
        super().__init__()
        self.period = period
        widths = [1, width, 4 * width, 16 * width, 32 * width, 32 * width]  # up to 1024 in HiFi-GAN
        strides = (3, 3, 3, 3, 1)
        layers = [
            nn.Conv2d(before, after, (5, 1), stride=(stride, 1), padding=(2, 0))
            for (before, after), stride in zip(pairwise(widths), strides, strict=True)
        ]
        self.layers = nn.ModuleList([*layers, nn.Conv2d(widths[-1], 1, (3, 1), padding=(1, 0))])

    def forward(self, waveform: Tensor) -> list[Tensor]:
        padded = F.pad(waveform, (0, -waveform.shape[2] % self.period))
        return through(self.layers, padded.unflatten(2, (-1, self.period)))


class MagnitudeDiscriminator(nn.Module):
    """Convolutions over the magnitudes of one spectrum, [B, 1, F, T] (UnivNet, 2106.07889, sec. 2.3)."""

    window: Tensor

    def __init__(self, size: int, hop: int, *, width: int) -> None:
        super().__init__()
        self.size, self.hop = size, hop
        self.register_buffer("window", torch.hann_window(size), persistent=False)
        layers = [nn.Conv2d(1, width, (3, 9), padding=(1, 4))]
        layers += [nn.Conv2d(width, width, (3, 9), stride=(1, 2), padding=(1, 4)) for _ in range(3)]
        layers += [nn.Conv2d(width, width, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)]
        self.layers = nn.ModuleList(layers)

    def forward(self, waveform: Tensor) -> list[Tensor]:
        margin = (self.size - self.hop) // 2
        frames = F.pad(waveform[:, 0].float(), (margin, margin)).unfold(-1, self.size, self.hop) * self.window
        magnitudes = torch.fft.rfft(frames, norm="ortho").abs()  # [B, T, F]
        return through(self.layers, magnitudes.transpose(1, 2)[:, None].contiguous())


class Listeners(nn.Module):
    """Several discriminators: the layers' outputs of each, of a waveform [B, 1, L]."""

    def __init__(self, members: Iterable[nn.Module]) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)

    def forward(self, waveform: Tensor) -> FeatureMaps:
        return [member(waveform) for member in self.members]


class PeriodsAndResolutions(Listeners):
    """MeLoDy's: multi-period and multi-resolution-spectrogram discriminators (2305.15719, sec. 3.4).

    Args:
        period_width: channels of the first layer of each period's (32 in HiFi-GAN).
        spectrum_width: channels of each resolution's (32 in UnivNet).
        periods: in samples.
        resolutions: windows of the spectra, in samples; hops are a fourth.
    """

    def __init__(
        self,
        *,
        period_width: int = 32,
        spectrum_width: int = 32,
        periods: tuple[int, ...] = (2, 3, 5, 7, 11),
        resolutions: tuple[int, ...] = (512, 1024, 2048),
    ) -> None:
        super().__init__(
            [PeriodDiscriminator(period, width=period_width) for period in periods]
            + [MagnitudeDiscriminator(size, size // 4, width=spectrum_width) for size in resolutions]
        )


class Discriminators(Listeners):
    """SoundStream's four, at a chosen width.

    Args:
        waveform_width: channels of the waveform discriminators' first layer (16 in MelGAN); a multiple of 4.
        spectrum_width: channels of the spectral discriminator's first layer (32 in the paper).
    """

    def __init__(self, *, waveform_width: int, spectrum_width: int) -> None:
        super().__init__(
            [WaveformDiscriminator(factor, width=waveform_width) for factor in DOWNSAMPLING]
            + [SpectrumDiscriminator(width=spectrum_width)]
        )


def through(layers: nn.ModuleList, signal: Tensor) -> list[Tensor]:
    """Outputs of all `layers` in turn, with a leaky rectifier between them."""
    outputs = []
    for layer in layers[:-1]:
        signal = F.leaky_relu(layer(signal), SLOPE)
        outputs.append(signal)
    outputs.append(layers[-1](signal))
    return outputs
