"""Training of a denoiser: the velocity of noisy latents, under conditions that are sometimes left out.

Frames may have times of their own: a crop is cut into chunks, each at a time (MeLoDy, sec. 3.3); and in some
rows a part of the frames is context, at time 0, which the loss leaves out. So one network makes music from
nothing, goes on from what there is, and fills in gaps. What is exported is an average of the weights.
"""

from collections.abc import Mapping
from pathlib import Path

import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from musiclm.bundle import load_component
from musiclm.diffusion.denoiser import Denoiser
from musiclm.diffusion.process import Draw, Process
from musiclm.tokenizers.autoencoder import WaveformAutoencoder
from musiclm.tokenizers.codec_latents import CodecLatents
from musiclm.tokenizers.residual_vq import sum_of_entries
from musiclm.training.averaging import AveragedTraining
from musiclm.training.dropout import drop_conditions, shares_dropped
from musiclm.training.seeds import seed_step

SPANS = 3  # of context in a row, at most


class DenoiserTraining(AveragedTraining[Denoiser]):
    """Trains a denoiser on token crops: on what their `acoustic` codes stand for, or on their `latents`.

    Args:
        part: the denoiser to train.
        autoencoder: folder of the trained latents of a codec (`runs/latents/part`), or of a learned
            autoencoder, whose latents the store holds.
        times: how the times are drawn, see `Process.draw`.
        mean, std: of log(a / s) where they are drawn by it.
        chunks: of a crop, each with a time of its own (MeLoDy has 4 of 10 s).
        context: fraction of the rows in which some frames are known.
        condition_dropout, timed_dropout, dropout, joint_dropout: of conditions, as in `StageTraining`.
        optimizer, warmup_steps, final_rate, ema_decay: as in `AveragedTraining`.
        seed: of all that is drawn; a step's draw depends on the seed and the step alone.

    Raises:
        FileNotFoundError: there is no autoencoder.
        ValueError: the part does not fit them, or a fraction is none.
    """

    codebooks: Tensor
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
        if chunks < 1 or not 0 <= context <= 1:
            raise ValueError(
                f"expected one chunk or more and a context in [0, 1], got {chunks} and {context:g}"
            )
        latents = load_component(autoencoder)
        if not isinstance(latents, CodecLatents | WaveformAutoencoder):
            raise ValueError(f"expected trained latents at {autoencoder}, found {type(latents).__name__}")
        rate = latents.frame_rate if isinstance(latents, WaveformAutoencoder) else part.frame_rate
        if (latents.dimension, rate) != (part.dimension, part.frame_rate):
            raise ValueError(
                f"expected a denoiser of {latents.dimension} dimensions at {rate:g} Hz, as the latents at "
                f"{autoencoder} have them, got {part.dimension} at {part.frame_rate:g} Hz"
            )
        self.process: Process = part.process
        self.times = times
        self.mean, self.std = mean, std
        self.chunks = chunks
        self.context = context
        self.dropped = shares_dropped(
            part.segments, condition_dropout, timed=timed_dropout, named=dropout, joint=joint_dropout
        )
        self.joint_dropout = joint_dropout
        self.seed = seed
        self._latents = (latents,)  # not a submodule: the frozen latents do not belong into checkpoints
        self.register_buffer("codebooks", torch.zeros(0), persistent=False)

    def setup(self, stage: str) -> None:
        """Take what the codes stand for from the data; what a checkpoint holds is restored after this."""
        source = self.trainer.datamodule  # type: ignore[attr-defined]
        if isinstance(self._latents[0], CodecLatents):
            self.codebooks = source.codebooks["acoustic"].float()
        elif "latents" not in (names := [stream.name for stream in source.streams]):
            raise ValueError(
                f"expected tokens with latents of the autoencoder, they have {', '.join(names)}: tokenize "
                "with a bundle that holds it"
            )
        if stage == "fit":
            self.part.start_from(source.codebooks)
            self.average.load_state_dict(self.part.state_dict())

    def training_step(self, batch: Mapping[str, Tensor], index: int) -> Tensor:
        seed_step(self, self.seed)
        latents = self.latents(batch)
        codes = drop_conditions(self._codes(batch), self.dropped, joint=self.joint_dropout)
        times, is_known = self._times(len(latents), latents.shape[2])
        loss = self._loss(self.part, latents, codes, times, is_known)
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: Mapping[str, Tensor], index: int) -> None:
        latents, codes = self.latents(batch), self._codes(batch)
        rows, _, frames = latents.shape
        with torch.random.fork_rng():
            torch.manual_seed(index)  # the same noise and times whenever it is measured
            nothing_known = torch.zeros(rows, frames, dtype=torch.bool, device=latents.device)
            share = (torch.arange(rows, device=latents.device)[:, None] + 0.5) / rows
            times = self._drawn(share.expand(rows, frames))
            noise = torch.randn_like(latents)
        figures = {
            "loss": self._loss(self.average, latents, codes, times, nothing_known, noise),
            "loss_untold": self._loss(self.average, latents, {}, times, nothing_known, noise),
        }
        self.log_dict({f"val/{name}": value for name, value in figures.items()}, batch_size=rows)

    def latents(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Latents [B, D, T] of a batch, T a multiple of the denoiser's fold."""
        source = self._latents[0]
        if isinstance(source, CodecLatents):
            codes = batch["acoustic"]
            vectors = sum_of_entries(self.codebooks.to(codes.device), codes)
            latents: Tensor = source.to(codes.device).from_vectors(vectors)
        else:
            latents = batch["latents"]
        return latents[..., : latents.shape[2] // self.part.fold * self.part.fold]

    def _loss(
        self,
        denoiser: Denoiser,
        latents: Tensor,
        codes: Mapping[str, Tensor],
        times: Tensor,
        is_known: Tensor,
        noise: Tensor | None = None,
    ) -> Tensor:
        """The mean squared error of the velocity over all frames that are not known."""
        noise = torch.randn_like(latents) if noise is None else noise
        at = torch.where(is_known, 0.0, times)[:, None]  # [B, 1, T]
        state = self.process.noised(latents, noise, at)
        velocity = self.process.velocity(latents, noise, at)
        predicted = denoiser(state, at[:, 0] / self.process.end, codes)
        wrong = (predicted - velocity).square().mean(dim=1)  # [B, T]
        return (wrong * ~is_known).sum() / (~is_known).sum()

    def _times(self, rows: int, frames: int) -> tuple[Tensor, Tensor]:
        """Of each frame, its time, and whether it is known: [B, T] each; positions are never torn."""
        fold = self.part.fold
        positions, device = frames // fold, self.device
        chunk = torch.arange(positions, device=device) * self.chunks // positions
        times = self._drawn(torch.rand(rows, self.chunks, device=device))[:, chunk]
        known = torch.zeros(rows, positions, dtype=torch.bool, device=device)
        place = torch.arange(positions, device=device)
        for row in range(rows):
            if float(torch.rand(())) >= self.context:
                continue
            if float(torch.rand(())) < 0.5:  # the beginning, to go on from
                known[row] = place < float(torch.rand(())) * 0.8 * positions
                continue
            spans = int(torch.randint(1, SPANS + 1, ()))
            for _ in range(spans):
                length = float(torch.rand(())) * 0.8 * positions / spans
                first = float(torch.rand(())) * (positions - length)
                known[row] |= (place >= first) & (place < first + length)
        return times.repeat_interleave(fold, dim=1), known.repeat_interleave(fold, dim=1)

    def _drawn(self, share: Tensor) -> Tensor:
        return self.process.draw(share, self.times, mean=self.mean, std=self.std)

    def _codes(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The codes of the denoiser's conditions, [B, levels, T]."""
        return {
            segment.name: batch[segment.key][:, : segment.levels]
            for segment in self.part.segments
            if segment.key in batch
        }
