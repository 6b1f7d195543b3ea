"""Training of a stage: the next code of each level, given all before it (MusicLM, sec. 4.1).

Cross-entropy on the targets only, levels weighted alike and averaged over codes, so that figures of different
lengths compare. Optional conditions are dropped for some rows, each on its own, so that one model serves
with and without a melody, and all at once for others, which guidance compares with.
What is exported, and what validation measures, is an exponential moving average of the weights.
"""

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import lightning
import torch
import torch.nn.functional as F
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from musiclm.stages.layout import ABSENT, Layout
from musiclm.stages.stage import Stage
from musiclm.stages.streams import Stream
from musiclm.training.schedules import elapsed_share, length_of, scheduled, share_of_peak
from musiclm.training.seeds import seed_step
from musiclm.training.sharded import gather, own_share, shard


class StageTraining(lightning.LightningModule):
    """Trains one stage on token crops: dicts of codes [B, levels, T] by source, as `TokenCrops` makes them.

    The rate rises over `warmup_steps`, then falls by half a cosine to `final_rate` of its peak at the end
    of the run: the trainer's max_steps or max_epochs, or its max_time, whichever is nearer.

    Args:
        part: the stage to train.
        optimizer: made from the parameters.
        warmup_steps: of the learning rate.
        final_rate: fraction of the peak rate that is left at the end.
        condition_dropout: fraction of the rows that lose a condition of the whole clip, the prompt.
        timed_dropout: the same of a condition with a clock, as a melody, which most requests come without.
        dropout: the same of single conditions by their names, in the place of either.
        joint_dropout: fraction of the rows that lose all conditions at once, whatever else is dropped.
        ema_decay: of the averaged weights; less at first, so that the average forgets the initial values.
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
        super().__init__()
        if not (0 <= ema_decay < 1 and warmup_steps >= 0):
            raise ValueError(
                f"expected ema_decay in [0, 1), warmup_steps of 0 or more, got {ema_decay}, {warmup_steps}"
            )
        self.part = part
        self.part.transformer.recomputes = activation_checkpointing
        self.average = copy.deepcopy(part).requires_grad_(False)
        if compile_backend is not None:
            compile_blocks(self.part, compile_backend)
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.final_rate = final_rate
        self.dropped = shares_dropped(
            part.layout, condition_dropout, timed=timed_dropout, named=dropout, joint=joint_dropout
        )
        self.joint_dropout = joint_dropout
        self.ema_decay = ema_decay
        self.seed = seed
        self._averaged_step = 0
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

    def on_train_start(self) -> None:
        self._averaged_step = self.global_step

    def on_train_batch_end(self, *_: object) -> None:
        if self.global_step == self._averaged_step:
            return  # gradients are still being accumulated
        self._averaged_step = self.global_step
        decay = min(self.ema_decay, (1 + self.global_step) / (10 + self.global_step))
        with torch.no_grad():
            average, weights = (own_share(stage.parameters()) for stage in (self.average, self.part))
            torch._foreach_lerp_(average, weights, 1 - decay)

    def on_fit_end(self) -> None:
        """The averaged weights are the ones to keep."""
        if self._unsharded:
            self.part = gather(self.average, self._unsharded.pop())
        else:
            self.part.load_state_dict(self.average.state_dict())

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.part.parameters())
        steps = length_of(self.trainer)
        return scheduled(optimizer, lambda step: self.rate(step, steps))

    def rate(self, step: int, steps: float) -> float:
        """Share of the peak rate at `step` of `steps`."""
        elapsed = elapsed_share(self.trainer) or 0.0
        return share_of_peak(step, steps, warmup=self.warmup_steps, final=self.final_rate, elapsed=elapsed)

    def _log(self, losses: Tensor, split: str, rows: int | None = None) -> None:
        figures = figures_of(losses, self.part.layout, split)
        self.log_dict(figures, batch_size=rows or 1, sync_dist=split == "val")  # of all devices' rows


def figures_of(losses: Tensor, layout: Layout, split: str) -> dict[str, Tensor]:
    """What is logged of the losses [Q] of a split; levels are named as in the codec."""
    first = layout.target.first_level + 1
    figures = {f"{split}/loss": losses.mean(), f"{split}/perplexity": losses.mean().exp()}
    figures |= {f"{split}/level_{first + q}": loss.exp() for q, loss in enumerate(losses)}
    return {name: value.detach() for name, value in figures.items()}


def shares_dropped(
    layout: Layout, whole: float, *, timed: float, named: Mapping[str, float] | None, joint: float
) -> dict[str, float]:
    """Fraction of the rows that lose each optional condition; the arguments are those of `StageTraining`.

    Raises:
        ValueError: one is no fraction.
    """
    shares = [whole, timed, joint, *(named or {}).values()]
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"expected shares of dropped conditions in [0, 1], got {shares}")
    return {
        segment.name: (named or {}).get(segment.name, timed if segment.frame_rate else whole)
        for segment in layout.conditions
        if segment.optional
    }


def learned_streams(stage: Stage, streams: Iterable[Stream]) -> list[dict[str, Any]]:
    """Those of a store's streams that a stage has learned, as its spec names them."""
    learned = {segment.key for segment in stage.layout.segments}
    return [replace(stream, made_by=()).words() for stream in streams if stream.name in learned]


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


def drop_conditions(
    codes: Mapping[str, Tensor], shares: Mapping[str, float], *, joint: float = 0.0
) -> dict[str, Tensor]:
    """Make each named condition [B, levels, T] absent in a random share of the rows, each on its own.

    In another share of the rows, `joint`, all of them are.
    """
    kept = dict(codes)
    named = [name for name in shares if name in codes]
    all_at_once = torch.zeros((), dtype=torch.bool)
    if joint and named:
        first = codes[named[0]]
        all_at_once = torch.rand(len(first), device=first.device) < joint
    for name, share in shares.items():
        if name in codes:
            dropped = torch.rand(len(codes[name]), device=codes[name].device) < share
            dropped = dropped | all_at_once.to(dropped.device)
            kept[name] = codes[name].masked_fill(dropped[:, None, None], ABSENT)
    return kept
