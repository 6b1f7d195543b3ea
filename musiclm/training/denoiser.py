"""Training of a denoiser on token crops; what is exported is an average of the weights."""

from collections.abc import Mapping
from pathlib import Path

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from musiclm.bundle import load_component
from musiclm.diffusion.denoiser import Denoiser
from musiclm.diffusion.process import Draw
from musiclm.tokenizers.autoencoder import WaveformAutoencoder
from musiclm.tokenizers.codec_latents import CodecLatents
from musiclm.training.averaging import AveragedTraining
from musiclm.training.dropout import shares_dropped
from musiclm.training.seeds import seed_step
from musiclm.training.velocity import Noising, VelocityLoss


class DenoiserTraining(AveragedTraining[Denoiser]):
    """Trains a denoiser on token crops: on what their `acoustic` codes stand for, or on their `latents`.

    Args:
        part: the denoiser to train.
        autoencoder: folder of the trained latents of a codec (`runs/latents/part`), or of a learned
            autoencoder, whose latents the store holds.
        times, mean, std, chunks, context: how latents are noised, as in `Noising`.
        condition_dropout, timed_dropout, dropout, joint_dropout: of conditions, as in `StageTraining`.
        optimizer, warmup_steps, final_rate, ema_decay: as in `AveragedTraining`.
        seed: of all that is drawn; a step's draw depends on the seed and the step alone.

    Raises:
        FileNotFoundError: there is no autoencoder.
        ValueError: the part does not fit them, or a fraction is none.
    """

    role = "denoiser"  # in a bundle

    def __init__(
        self,
        part: Denoiser,
        *,
        autoencoder: Path,
        times: Draw = "uniform",
        mean: float = 0.0,
        std: float = 1.0,
        chunks: int = 1,
        context: float = 0.5,
        condition_dropout: float = 0.1,
        timed_dropout: float = 0.3,
        dropout: dict[str, float] | None = None,
        joint_dropout: float = 0.1,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        warmup_steps: int = 100,
        final_rate: float = 0.02,
        ema_decay: float = 0.995,
        seed: int = 0,
    ) -> None:
        super().__init__(
            part,
            optimizer=optimizer,
            warmup_steps=warmup_steps,
            final_rate=final_rate,
            ema_decay=ema_decay,
        )
        noising = Noising(times, mean, std, chunks, context)
        latents = load_component(autoencoder)
        if not isinstance(latents, CodecLatents | WaveformAutoencoder):
            raise ValueError(f"expected trained latents at {autoencoder}, found {type(latents).__name__}")
        dropped = shares_dropped(
            part.segments, condition_dropout, timed=timed_dropout, named=dropout, joint=joint_dropout
        )
        # Not a submodule: the frozen latents do not belong into checkpoints.
        self.velocity = VelocityLoss(part, latents, noising, dropped=dropped, joint_dropout=joint_dropout)
        self.seed = seed

    def setup(self, stage: str) -> None:
        """Take what the codes stand for from the data; what a checkpoint holds is restored after this."""
        source = self.trainer.datamodule  # type: ignore[attr-defined]
        self.velocity.read(source)
        if stage == "fit":
            self.part.start_from(source.codebooks)
            self.average.load_state_dict(self.part.state_dict())

    def training_step(self, batch: Mapping[str, Tensor], index: int) -> Tensor:
        seed_step(self, self.seed)
        loss = self.velocity.learned(self.part, batch)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], index: int) -> None:
        figures = {
            "val/loss": self.velocity.measured(self.average, batch, index),
            "val/loss_untold": self.velocity.measured(self.average, batch, index, told=False),
        }
        self.log_dict(figures, batch_size=len(batch["semantic"]))
