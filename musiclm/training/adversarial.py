"""Training of what makes sound of its own code, codec or autoencoder, against discriminators.

One optimizer holds two parameter groups, the part and its discriminators, and one step moves both: the losses
are built so that no gradient crosses over. So Lightning's step count is the number of batches, and everything
needed to resume is in its checkpoint.
"""

import math
from typing import Any, Generic, TypeVar

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from musiclm.metrics.fidelity import MelDistance
from musiclm.training.balancer import Balancer
from musiclm.training.codec_losses import (
    MultiScaleMelLoss,
    discriminator_hinge,
    feature_matching,
    generator_hinge,
    waveform_loss,
)
from musiclm.training.discriminators import Listeners
from musiclm.training.schedules import scheduled, share_of_peak

FINAL_LEARNING_RATE = 0.02  # of the peak, at the last step
Part = TypeVar("Part", bound=nn.Module)


class AdversarialTraining(LightningModule, Generic[Part]):
    """What training of codecs and of autoencoders share.

    Args:
        part: what is trained.
        sample_rate: of its sound, in Hz.
        discriminators: listeners for the adversarial loss.
        optimizer: makes the optimizer from parameter groups.
        mel_windows: window sizes of the mel loss in samples (SoundStream: 64 … 2048).
        mel_bands: bands of the mel loss.
        mel_weight, waveform_weight, adversarial_weight, feature_weight: of the losses.
        balance: take the weights of the four losses of the sound as shares of the gradient that reaches it,
            as EnCodec does (waveform 0.1, mel 1, adversarial 3, feature 3); see `balancer.py`. The losses are
            logged as before.
        adversarial_start: step from which the discriminators learn and teach; None for never.
        warmup_steps: steps over which the learning rate rises; then it falls along a cosine until
            trainer.max_steps, or stays where that is not set.
        gradient_clip: largest norm of the part's gradient, and of the discriminators'.
    """

    def __init__(
        self,
        part: Part,
        *,
        sample_rate: int,
        discriminators: Listeners,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        mel_windows: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048),
        mel_bands: int = 64,
        mel_weight: float = 1.0,
        waveform_weight: float = 1.0,
        adversarial_weight: float = 1.0,
        feature_weight: float = 100.0,
        balance: bool = False,
        adversarial_start: int | None = 0,
        warmup_steps: int = 100,
        gradient_clip: float = 1.0,
    ) -> None:
        super().__init__()
        self.part = part
        self.discriminators = discriminators
        self.optimizer = optimizer
        self.mel_loss = MultiScaleMelLoss(sample_rate, windows=mel_windows, bands=mel_bands)
        self.mel_distance = MelDistance(sample_rate)
        self.mel_weight = mel_weight
        self.waveform_weight = waveform_weight
        self.adversarial_weight = adversarial_weight
        self.feature_weight = feature_weight
        shares = {
            "mel": mel_weight,
            "waveform": waveform_weight,
            "adversarial": adversarial_weight,
            "features": feature_weight,
        }
        self.balancer = Balancer(shares) if balance else None
        self.adversarial_start = adversarial_start
        self.warmup_steps = warmup_steps
        self.gradient_clip = gradient_clip

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(
            [{"params": list(self.part.parameters())}, {"params": list(self.discriminators.parameters())}]
        )
        return scheduled(optimizer, self._learning_rate_at)

    def _learning_rate_at(self, step: int) -> float:
        """Learning rate at `step`, as a share of the peak."""
        last = self.trainer.max_steps  # -1 without end
        steps = last if last > self.warmup_steps else math.inf
        return share_of_peak(step, steps, warmup=self.warmup_steps, final=FINAL_LEARNING_RATE)

    def total_loss(self, output: Tensor, target: Tensor, others: dict[str, Tensor]) -> Tensor:
        """The sum of all losses of sound [B, 1, L] and of those that are no sound's, each of them logged."""
        losses = {
            "mel": self.mel_weight * self.mel_loss(output, target),
            "waveform": self.waveform_weight * waveform_loss(output, target),
            **others,
        }
        if self.adversarial_start is not None and self.global_step >= self.adversarial_start:
            losses |= self._adversarial_losses(output, target)
        elif self.trainer.world_size > 1:  # DDP wants a gradient for every parameter
            losses["discriminators"] = 0.0 * sum(p.sum() for p in self.discriminators.parameters())
        self.log_dict({f"train/{name}": loss.detach() for name, loss in losses.items()}, prog_bar=True)
        if self.balancer is not None:
            of_the_sound = {name: losses.pop(name) for name in self.balancer.weights if name in losses}
            losses["balanced"] = self.balancer(of_the_sound, output)
        return torch.stack(list(losses.values())).sum()

    def _adversarial_losses(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Losses of the part, through discriminators that hold still, and of the discriminators."""
        self.discriminators.requires_grad_(False)
        with torch.no_grad():
            wanted = self.discriminators(target)
        judged = self.discriminators(output)
        self.discriminators.requires_grad_(True)
        return {
            "adversarial": self.adversarial_weight * generator_hinge(judged),
            "features": self.feature_weight * feature_matching(wanted, judged),
            "discriminators": discriminator_hinge(
                self.discriminators(target), self.discriminators(output.detach())
            ),
        }

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip each side by itself, so that a loud discriminator does not slow the part."""
        for module in (self.part, self.discriminators):
            norm = clip_grad_norm_(module.parameters(), self.gradient_clip)
            if module is self.part:
                self.log("train/gradient_norm", norm)
