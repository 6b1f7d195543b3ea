"""Training with a rate that rises and falls, of which an average of the weights is kept."""

import copy
from typing import Any, Generic, TypeVar

import lightning
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import nn

from musiclm.training.schedules import elapsed_share, length_of, scheduled, share_of_peak
from musiclm.training.sharded import own_share

Part = TypeVar("Part", bound=nn.Module)


class AveragedTraining(lightning.LightningModule, Generic[Part]):
    """What training of stages and of denoisers share.

    The rate rises over `warmup_steps`, then falls by half a cosine to `final_rate` of its peak at the end
    of the run: the trainer's max_steps or max_epochs, or its max_time, whichever is nearer.

    Args:
        part: the network to train.
        optimizer: made from the parameters.
        warmup_steps: of the learning rate.
        final_rate: fraction of the peak rate that is left at the end.
        ema_decay: of the averaged weights; less at first, so that the average forgets the initial values.
    """

    def __init__(
        self,
        part: Part,
        *,
        optimizer: OptimizerCallable,
        warmup_steps: int,
        final_rate: float,
        ema_decay: float,
    ) -> None:
        super().__init__()
        if not (0 <= ema_decay < 1 and warmup_steps >= 0):
            raise ValueError(
                f"expected ema_decay in [0, 1), warmup_steps of 0 or more, got {ema_decay}, {warmup_steps}"
            )
        self.part = part
        self.average: Part = copy.deepcopy(part).requires_grad_(False)
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.final_rate = final_rate
        self.ema_decay = ema_decay
        self._averaged_step = 0

    def on_train_start(self) -> None:
        self._averaged_step = self.global_step

    def on_train_batch_end(self, *_: object) -> None:
        if self.global_step == self._averaged_step:
            return  # gradients are still being accumulated
        self._averaged_step = self.global_step
        decay = min(self.ema_decay, (1 + self.global_step) / (10 + self.global_step))
        with torch.no_grad():
            average, weights = (own_share(each.parameters()) for each in (self.average, self.part))
            torch._foreach_lerp_(average, weights, 1 - decay)

    def on_fit_end(self) -> None:
        """The averaged weights are the ones to keep."""
        self.part.load_state_dict(self.average.state_dict())

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.part.parameters())
        steps = length_of(self.trainer)
        return scheduled(optimizer, lambda step: self.rate(step, steps))

    def rate(self, step: int, steps: float) -> float:
        """Share of the peak rate at `step` of `steps`."""
        elapsed = elapsed_share(self.trainer) or 0.0
        return share_of_peak(step, steps, warmup=self.warmup_steps, final=self.final_rate, elapsed=elapsed)
