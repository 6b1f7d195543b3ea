"""Training of the SoundStream codec: reconstruction first, discriminators once the sound is roughly right.

One optimizer holds two parameter groups, codec and discriminators, and one step moves both: the losses are
built so that no gradient crosses over. So Lightning's step count is the number of batches, and everything
needed to resume is in its checkpoint.
"""

import math
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from torch.nn.utils import clip_grad_norm_
from torch.optim import Optimizer

from musiclm.metrics.codebooks import perplexity
from musiclm.metrics.fidelity import MelDistance, si_sdr
from musiclm.tokenizers.soundstream import SoundStream
from musiclm.training.balancer import Balancer
from musiclm.training.codec_losses import (
    MultiScaleMelLoss,
    discriminator_hinge,
    feature_matching,
    generator_hinge,
    waveform_loss,
)
from musiclm.training.discriminators import Discriminators
from musiclm.training.schedules import scheduled, share_of_peak
from musiclm.training.seeds import seed_step

FINAL_LEARNING_RATE = 0.02  # of the peak, at the last step


class SoundStreamTraining(LightningModule):
    """Trains `part` on batches with `waveform` [B, 1, L].

    Args:
        part: the codec.
        discriminators: listeners for the adversarial loss.
        optimizer: makes the optimizer from parameter groups.
        mel_windows: window sizes of the mel loss in samples (SoundStream: 64 … 2048).
        mel_bands: bands of the mel loss.
        mel_weight, waveform_weight, commitment_weight, adversarial_weight, feature_weight: of the losses.
        balance: take the weights of the four losses of the sound (all but commitment) as shares of the
            gradient that reaches it, as EnCodec does (waveform 0.1, mel 1, adversarial 3, feature 3); see
            `balancer.py`. The losses are logged as before. SoundStream's paper has no such thing.
        quantize_start: step from which the latents are quantized. The codebooks are set by k-means then, or
            as soon as enough frames were seen; before, the latents move too fast to be worth following.
        adversarial_start: step from which the discriminators learn and teach; None for never.
        dropout: share of examples whose number of levels is drawn from U[1, Q] (SoundStream: 1).
        warmup_steps: steps over which the learning rate rises; then it falls along a cosine until
            trainer.max_steps, or stays where that is not set.
        gradient_clip: largest norm of the codec's gradient, and of the discriminators'.
        seed: of the levels dropped, and of what the codebooks draw.
    """

    role = "codec"  # in a bundle

    def __init__(
        self,
        part: SoundStream,
        *,
        discriminators: Discriminators,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        mel_windows: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048),
        mel_bands: int = 64,
        mel_weight: float = 1.0,
        waveform_weight: float = 1.0,
        commitment_weight: float = 0.25,
        adversarial_weight: float = 1.0,
        feature_weight: float = 100.0,
        balance: bool = False,
        quantize_start: int = 0,
        adversarial_start: int | None = 0,
        dropout: float = 1.0,
        warmup_steps: int = 100,
        gradient_clip: float = 1.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.part = part
        self.discriminators = discriminators
        self.optimizer = optimizer
        self.mel_loss = MultiScaleMelLoss(part.sample_rate, windows=mel_windows, bands=mel_bands)
        self.mel_distance = MelDistance(part.sample_rate)
        self.mel_weight = mel_weight
        self.waveform_weight = waveform_weight
        self.commitment_weight = commitment_weight
        self.adversarial_weight = adversarial_weight
        self.feature_weight = feature_weight
        shares = {
            "mel": mel_weight,
            "waveform": waveform_weight,
            "adversarial": adversarial_weight,
            "features": feature_weight,
        }
        self.balancer = Balancer(shares) if balance else None
        self.quantize_start = quantize_start
        self.adversarial_start = adversarial_start
        self.dropout = dropout
        self.warmup_steps = warmup_steps
        self.gradient_clip = gradient_clip
        self.seed = seed
        self.register_buffer(
            "uses", torch.zeros(part.num_quantizers, part.codebook_size), persistent=False
        )  # of every entry, over one validation

    uses: Tensor

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

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        seed_step(self, self.seed)
        target = batch["waveform"]  # [B, 1, L]
        levels = self._draw_levels(len(target)).to(target.device)
        output = self.part(target, levels, quantize=self.global_step >= self.quantize_start)
        losses = {
            "mel": self.mel_weight * self.mel_loss(output.waveform, target),
            "waveform": self.waveform_weight * waveform_loss(output.waveform, target),
            "commitment": self.commitment_weight * output.commitment,
        }
        if self.adversarial_start is not None and self.global_step >= self.adversarial_start:
            losses |= self._adversarial_losses(output.waveform, target)
        elif self.trainer.world_size > 1:  # DDP wants a gradient for every parameter
            losses["discriminators"] = 0.0 * sum(p.sum() for p in self.discriminators.parameters())
        self.log_dict({f"train/{name}": loss.detach() for name, loss in losses.items()}, prog_bar=True)
        if self.balancer is not None:
            of_the_sound = {name: losses.pop(name) for name in self.balancer.weights if name in losses}
            losses["balanced"] = self.balancer(of_the_sound, output.waveform)
        return torch.stack(list(losses.values())).sum()

    def _adversarial_losses(self, output: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Losses of the codec, through discriminators that hold still, and of the discriminators."""
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

    def _draw_levels(self, batch_size: int) -> Tensor:
        """Levels [B] each example may use: all, or for a share of `dropout`, one of U[1, Q]."""
        every = self.part.num_quantizers
        drawn = torch.randint(1, every + 1, (batch_size,))
        return torch.where(torch.rand(batch_size) < self.dropout, drawn, torch.full_like(drawn, every))

    def configure_gradient_clipping(
        self,
        optimizer: Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Clip each side by itself, so that a loud discriminator does not slow the codec."""
        for module in (self.part, self.discriminators):
            norm = clip_grad_norm_(module.parameters(), self.gradient_clip)
            if module is self.part:
                self.log("train/gradient_norm", norm)

    def unready(self) -> str | None:
        """Why the part cannot be used yet, if so."""
        if self.part.quantizer.is_initialized:
            return None
        return f"expected codebooks, the {self.global_step} steps ended before there were any"

    def on_validation_epoch_start(self) -> None:
        self.uses.zero_()

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        target = batch["waveform"]
        coded = self.part(target)
        codes = coded.codes  # [B, Q, T]
        output = self.part.decode(codes)[..., : target.shape[-1]]
        size = len(target)
        self.log("val/mel_distance", self.mel_distance(output, target), batch_size=size, prog_bar=True)
        # With the target's phases: of reconstructed ones, SI-SDR says nothing.
        self.log("val/si_sdr", si_sdr(coded.waveform, target).mean(), batch_size=size, prog_bar=True)
        self.log("val/mel_loss", self.mel_loss(output, target), batch_size=size)
        for level in range(self.part.num_quantizers):
            self.uses[level] += torch.bincount(codes[:, level].flatten(), minlength=self.part.codebook_size)

    def on_validation_epoch_end(self) -> None:
        effective = perplexity(self.uses)  # [Q]
        for level in range(self.part.num_quantizers):
            self.log(f"val/perplexity_{level + 1}", effective[level])
            self.log(f"val/entries_used_{level + 1}", (self.uses[level] > 0).float().sum())
        self.log("val/perplexity", effective.mean(), prog_bar=True)
