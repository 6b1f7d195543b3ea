"""Training of an autoencoder of continuous latents: reconstruction, discriminators, and a penalty or a mask.

MeLoDy's is variational (2305.15719, sec. 3.4), JEN-1's has some of its latents left out (2308.04729, sec.
4.1). What is exported is the part itself.
"""

from typing import Any

from torch import Tensor

from musiclm.metrics.fidelity import si_sdr
from musiclm.tokenizers.autoencoder import WaveformAutoencoder
from musiclm.training.adversarial import AdversarialTraining
from musiclm.training.seeds import seed_step


class AutoencoderTraining(AdversarialTraining[WaveformAutoencoder]):
    """Trains `part` on batches with `waveform` [B, C, L].

    Args:
        part: the autoencoder.
        divergence_weight: of the Kullback-Leibler divergence from a standard normal, in nats a value.
        masked: share of the frames whose latents are left out in training (JEN-1: 0.05).
        seed: of what is drawn.
        shared: as in `AdversarialTraining`.

    Raises:
        ValueError: a share is none.
    """

    role = "autoencoder"  # in a bundle

    def __init__(
        self,
        part: WaveformAutoencoder,
        *,
        divergence_weight: float = 0.01,
        masked: float = 0.0,
        seed: int = 0,
        **shared: Any,
    ) -> None:
        super().__init__(part, sample_rate=part.sample_rate, **shared)
        if not 0 <= masked < 1:
            raise ValueError(f"expected a share of masked frames of 0 to below 1, got {masked:g}")
        self.divergence_weight = divergence_weight
        self.masked = masked
        self.seed = seed

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        seed_step(self, self.seed)
        target = batch["waveform"]
        output = self.part(target, masked=self.masked)
        # Losses and discriminators hear one channel at a time.
        made, meant = (each.flatten(0, 1)[:, None] for each in (output.waveform, target))
        return self.total_loss(made, meant, {"divergence": self.divergence_weight * output.divergence})

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        target = batch["waveform"]
        latents = self.part.encode(target)
        output = self.part.decode(latents)[..., : target.shape[2]]
        told = self.part(target).waveform  # a decoder that is told the target's phases has them here
        output, told, target = (each.flatten(0, 1)[:, None] for each in (output, told, target))
        size = len(target)
        self.log("val/mel_distance", self.mel_distance(output, target), batch_size=size, prog_bar=True)
        self.log("val/si_sdr", si_sdr(told, target).mean(), batch_size=size, prog_bar=True)
        self.log("val/mel_loss", self.mel_loss(output, target), batch_size=size)
        self.log("val/deviation", latents.std(), batch_size=size)
