"""What a codec is trained towards: mel spectra, the waveform, discriminators' views.

All functions take waveforms [B, 1, L] and return scalars (means over the batch), unless said otherwise.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musiclm.metrics.fidelity import MelSpectrogram, log10

FeatureMaps = list[list[Tensor]]  # one list of layer outputs per discriminator, the last one its logits


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
