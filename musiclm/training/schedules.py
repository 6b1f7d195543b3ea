"""The learning rate over a run: it rises by steps, then falls by half a cosine."""

import math
from collections.abc import Callable
from typing import Any

import lightning
from lightning.pytorch.callbacks import Timer
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR


def share_of_peak(step: int, steps: float, *, warmup: int, final: float = 0.0, elapsed: float = 0.0) -> float:
    """Share of the peak rate at `step` of `steps`; of a run without end, the peak once it is warm.

    Args:
        step: from 0.
        steps: of the run, or infinite.
        warmup: steps of the rise.
        final: share that is left at the end.
        elapsed: share of the run's time that is over, where time may end it before its steps do.
    """
    if step < warmup:
        return (step + 1) / warmup
    done = min(max((step - warmup) / max(steps - warmup, 1), elapsed), 1.0)
    return final + (1 - final) * (1 + math.cos(math.pi * done)) / 2


def elapsed_share(trainer: lightning.Trainer) -> float | None:
    """How much of a trainer's max_time is over; None without one."""
    for callback in trainer.callbacks:  # type: ignore[attr-defined]
        if isinstance(callback, Timer) and (left := callback.time_remaining()) is not None:
            return callback.time_elapsed() / max(callback.time_elapsed() + left, 1e-9)
    return None


def length_of(trainer: lightning.Trainer) -> float:
    """Steps of a run, infinite where its max_time alone ends it.

    Raises:
        ValueError: nothing ends it.
    """
    steps = trainer.estimated_stepping_batches
    if math.isinf(steps) and elapsed_share(trainer) is None:
        raise ValueError(
            "expected the length of the run for the learning rate: set trainer.max_steps or max_time"
        )
    return steps


def scheduled(optimizer: Optimizer, share: Callable[[int], float]) -> dict[str, Any]:
    """What Lightning's `configure_optimizers` returns for a rate that is set at every step."""
    return {
        "optimizer": optimizer,
        "lr_scheduler": {"scheduler": LambdaLR(optimizer, share), "interval": "step"},
    }
