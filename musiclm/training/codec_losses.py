"""What a codec is trained towards and measured by: mel spectra, the waveform, discriminators' views.

All functions take waveforms [B, 1, L] and return scalars (means over the batch), unless said otherwise.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FeatureMaps = list[list[Tensor]]  # one list of layer outputs per discriminator, the last one its logits


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


class MultiScaleMelLoss(nn.Module):
    """L1 distance of mel spectrograms, linear and logarithmic, over several windows (SoundStream, eq. 5).

    The log term of window s is weighted √(s/2) in the paper, beside unnormalised spectra; here both are means
    over bands and frames, the linear one relative to the target's mean, so that no window outweighs another.
    Its log term is an L2 norm over a frame's bands; here it is L1, as the linear one.

    Args:
        sample_rate: Hz.
        windows: sizes in samples; the hop is a quarter of each.
        bands: mel bands at every window; a band narrower than a window's bin spacing is dropped.
    """

    def __init__(self, sample_rate: int, *, windows: tuple[int, ...], bands: int) -> None:
        super().__init__()
        self.scales = nn.ModuleList(
            MelSpectrogram(sample_rate, window=window, hop=window // 4, bands=bands) for window in windows
        )

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        losses = []
        for scale in self.scales:
            with torch.no_grad():
                wanted = scale(target)
            got = scale(output)
            linear = (got - wanted).abs().mean() / wanted.mean().clamp_min(1e-4)
            losses.append(linear + (log10(got) - log10(wanted)).abs().mean())
        return torch.stack(losses).mean()


class MelDistance(nn.Module):
    """Mean absolute difference of log10 mel magnitudes: the figure a codec is judged by (0 is perfect).

    80 bands, window 1024, hop 256; magnitudes below 1e-5 of full scale count as silence.
    """

    def __init__(self, sample_rate: int) -> None:
        super().__init__()
        self.mel = MelSpectrogram(sample_rate, window=1024, hop=256, bands=80)

    def forward(self, output: Tensor, target: Tensor) -> Tensor:
        return (log10(self.mel(output)) - log10(self.mel(target))).abs().mean()


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


def waveform_loss(output: Tensor, target: Tensor) -> Tensor:
    """L1 distance of the samples relative to the target's mean magnitude, so that quiet music counts too."""
    error = (output - target).abs().flatten(1).mean(dim=1)
    return (error / target.abs().flatten(1).mean(dim=1).clamp_min(1e-2)).mean()


def discriminator_hinge(real: FeatureMaps, fake: FeatureMaps) -> Tensor:
    """Discriminators' loss: logits of real sound above 1, of decoded sound below -1 (SoundStream, eq. 1)."""
    losses = [
        F.relu(1.0 - r[-1]).mean() + F.relu(1.0 + f[-1]).mean() for r, f in zip(real, fake, strict=True)
    ]
    return torch.stack(losses).mean()


def generator_hinge(fake: FeatureMaps) -> Tensor:
    """The codec's adversarial loss: logits of decoded sound above 1 (SoundStream, eq. 2)."""
    return torch.stack([F.relu(1.0 - f[-1]).mean() for f in fake]).mean()


def feature_matching(real: FeatureMaps, fake: FeatureMaps) -> Tensor:
    """L1 distance between discriminators' inner layers for real and decoded sound (SoundStream, eq. 3)."""
    losses = [
        (r.detach() - f).abs().mean()
        for real_layers, fake_layers in zip(real, fake, strict=True)
        for r, f in zip(real_layers[:-1], fake_layers[:-1], strict=True)
    ]
    return torch.stack(losses).mean()


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
