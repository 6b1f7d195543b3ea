"""Training of the SoundStream codec: reconstruction first, discriminators once the sound is roughly right."""

from typing import Any

import torch
from torch import Tensor

from musiclm.metrics.codebooks import perplexity
from musiclm.metrics.fidelity import si_sdr
from musiclm.tokenizers.soundstream import SoundStream
from musiclm.training.adversarial import AdversarialTraining
from musiclm.training.seeds import seed_step


class SoundStreamTraining(AdversarialTraining[SoundStream]):
    """Trains `part` on batches with `waveform` [B, 1, L].

    Args:
        part: the codec.
        commitment_weight: of how far the latents are from their entries.
        quantize_start: step from which the latents are quantized. The codebooks are set by k-means then, or
            as soon as enough frames were seen; before, the latents move too fast to be worth following.
        dropout: share of examples whose number of levels is drawn from U[1, Q] (SoundStream: 1).
        seed: of the levels dropped, and of what the codebooks draw.
        shared: as in `AdversarialTraining`.
    """

    role = "codec"  # in a bundle

    def __init__(
        self,
        part: SoundStream,
        *,
        commitment_weight: float = 0.25,
        quantize_start: int = 0,
        dropout: float = 1.0,
        seed: int = 0,
        **shared: Any,
    ) -> None:
        super().__init__(part, sample_rate=part.sample_rate, **shared)
        self.commitment_weight = commitment_weight
        self.quantize_start = quantize_start
        self.dropout = dropout
        self.seed = seed
        self.register_buffer(
            "uses", torch.zeros(part.num_quantizers, part.codebook_size), persistent=False
        )  # of every entry, over one validation

    uses: Tensor

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        seed_step(self, self.seed)
        target = batch["waveform"]  # [B, 1, L]
        levels = self._draw_levels(len(target)).to(target.device)
        output = self.part(target, levels, quantize=self.global_step >= self.quantize_start)
        commitment = self.commitment_weight * output.commitment
        return self.total_loss(output.waveform, target, {"commitment": commitment})

    def _draw_levels(self, batch_size: int) -> Tensor:
        """Levels [B] each example may use: all, or for a share of `dropout`, one of U[1, Q]."""
        every = self.part.num_quantizers
        drawn = torch.randint(1, every + 1, (batch_size,))
        return torch.where(torch.rand(batch_size) < self.dropout, drawn, torch.full_like(drawn, every))

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
