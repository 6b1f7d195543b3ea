"""Training of a stage: the next code of each level, given all before it (MusicLM, sec. 4.1).

Cross-entropy on the targets only, levels weighted alike and averaged over codes, so that figures of different
lengths compare. Optional conditions are dropped for some rows, each on its own, so that one model serves
with and without a melody, and all at once for others, which guidance compares with.
What is exported, and what validation measures, is an exponential moving average of the weights.
"""

import copy
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from musiclm.stages.layout import Layout
from musiclm.stages.stage import Stage
from musiclm.training.averaging import AveragedTraining
from musiclm.training.dropout import drop_conditions, shares_dropped
from musiclm.training.seeds import seed_step
from musiclm.training.sharded import gather, shard


class StageTraining(AveragedTraining[Stage]):
    """Trains one stage on token crops: dicts of codes [B, levels, T] by source, as `TokenCrops` makes them.

    Args:
        part: the stage to train.
        optimizer, warmup_steps, final_rate, ema_decay: as in `AveragedTraining`.
        condition_dropout: fraction of the rows that lose a condition of the whole clip, the prompt.
        timed_dropout: the same of a condition with a clock, as a melody, which most requests come without.
        dropout: the same of single conditions by their names, in the place of either.
        joint_dropout: fraction of the rows that lose all conditions at once, whatever else is dropped.
        activation_checkpointing: keep only what goes from block to block, and compute the rest again in the
            backward pass: a third more time, a small part of the memory.
        compile_backend: of torch.compile, `inductor` for one, which needs a C++ compiler: each block is
            compiled by itself, so that all layers share the result. None leaves them as they are.
        seed: of dropout; a step's draw depends on the seed and the step alone, so a resumed run is the same
            run.
    """

    def __init__(
        self,
        part: Stage,
        *,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        warmup_steps: int = 100,
        final_rate: float = 0.02,
        condition_dropout: float = 0.1,
        timed_dropout: float = 0.5,
        dropout: dict[str, float] | None = None,
        joint_dropout: float = 0.0,
        ema_decay: float = 0.995,
        activation_checkpointing: bool = False,
        compile_backend: str | None = None,
        seed: int = 0,
    ) -> None:
        part.transformer.recomputes = activation_checkpointing
        super().__init__(
            part,
            optimizer=optimizer,
            warmup_steps=warmup_steps,
            final_rate=final_rate,
            ema_decay=ema_decay,
        )
        if compile_backend is not None:
            compile_blocks(self.part, compile_backend)
        self.dropped = shares_dropped(
            part.layout.conditions, condition_dropout, timed=timed_dropout, named=dropout, joint=joint_dropout
        )
        self.joint_dropout = joint_dropout
        self.seed = seed
        self._unsharded: list[Stage] = []  # what a sharded part becomes again; a list hides it from Lightning

    @property
    def role(self) -> str:
        """Its role in a bundle: the stage of what it generates."""
        return f"{self.part.layout.target.name}_stage"

    def setup(self, stage: str) -> None:
        """Embeddings begin at the tokenizers' codebooks; what a checkpoint holds is restored after this."""
        if stage == "fit":
            source = self.trainer.datamodule  # type: ignore[attr-defined]  # None beside plain loaders
            self.part.start_from(getattr(source, "codebooks", {}))
            self.average.load_state_dict(self.part.state_dict())

    def configure_model(self) -> None:
        """Shard the stage and its average where the strategy says so, which is after `setup`."""
        if self.device_mesh is not None and not self._unsharded:
            self._unsharded = [copy.deepcopy(self.part).to("meta")]
            for stage in (self.part, self.average):
                shard(stage, self.device_mesh["data_parallel"])

    def training_step(self, batch: Mapping[str, Tensor], index: int) -> Tensor:
        seed_step(self, self.seed)
        codes = drop_conditions(self.part.layout.pick(batch), self.dropped, joint=self.joint_dropout)
        losses = level_losses(self.part, codes)  # [Q]
        self._log(losses, "train")
        return losses.mean()

    def validation_step(self, batch: Mapping[str, Tensor], index: int) -> None:
        codes = self.part.layout.pick(batch)
        rows = codes[self.part.layout.target.name].shape[0]
        self._log(level_losses(self.average, codes), "val", rows)
        for segment in self.part.layout.conditions:  # what it is worth to be told of it
            if segment.optional and segment.frame_rate and segment.name in codes:
                without = {name: value for name, value in codes.items() if name != segment.name}
                loss = level_losses(self.average, without).mean()
                self.log(f"val/loss_without_{segment.name}", loss, batch_size=rows)

    def on_fit_end(self) -> None:
        """The averaged weights are the ones to keep."""
        if self._unsharded:
            self.part = gather(self.average, self._unsharded.pop())
        else:
            super().on_fit_end()

    def _log(self, losses: Tensor, split: str, rows: int | None = None) -> None:
        figures = figures_of(losses, self.part.layout, split)
        self.log_dict(figures, batch_size=rows or 1, sync_dist=split == "val")  # of all devices' rows


def figures_of(losses: Tensor, layout: Layout, split: str) -> dict[str, Tensor]:
    """What is logged of the losses [Q] of a split; levels are named as in the codec."""
    first = layout.target.first_level + 1
    figures = {f"{split}/loss": losses.mean(), f"{split}/perplexity": losses.mean().exp()}
    figures |= {f"{split}/level_{first + q}": loss.exp() for q, loss in enumerate(losses)}
    return {name: value.detach() for name, value in figures.items()}


def compile_blocks(stage: Stage, backend: str) -> None:
    """Compile each block in place: names of weights, and so checkpoints, stay what they are.

    Raises:
        ValueError: torch has no such backend.
    """
    if backend not in torch.compiler.list_backends(exclude_tags=()):
        raise ValueError(f"expected a compile_backend of torch, inductor for one, got {backend!r}")
    for block in stage.transformer.blocks:
        block.compile(backend=backend)


def level_losses(stage: Stage, codes: Mapping[str, Tensor]) -> Tensor:
    """Mean cross-entropy of each level of the target, [Q], in nats per code."""
    target = codes[stage.layout.target.name]  # [B, Q, T]
    logits = stage(codes)  # [B, Q, T, codebook_size]
    losses = F.cross_entropy(logits.flatten(0, 2), target.flatten(), reduction="none")
    return losses.view(target.shape).mean(dim=(0, 2))
