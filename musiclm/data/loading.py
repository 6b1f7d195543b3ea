"""What the data modules share: the order of crops, which a stopped run goes on in, and validation.

A recording is held out or trained on, never both. Where none is held out there is no validation, and one line
says so.
"""

import sys
from collections.abc import Iterator
from typing import Any, Protocol, runtime_checkable

import lightning
from torch.utils.data import DataLoader, Sampler


class CropSource(Protocol):
    """What a sampler asks of a data module."""

    trainer: lightning.Trainer | None
    batch_size: int


class ResumableSampler(Sampler[int]):
    """0 … count - 1 in the first epoch, count … 2·count - 1 in the second: no index comes twice.

    Which epoch it is, and how much of it was done before the run was resumed, the data module's trainer says:
    the number that Lightning gives to a sampler's `set_epoch` is one too many then.

    Args:
        count: crops in an epoch.
        data: the data module, of which the trainer and the batch_size are asked.
    """

    def __init__(self, count: int, data: CropSource) -> None:
        self.count = count
        self.data = data

    def __iter__(self) -> Iterator[int]:
        first = 0
        if trainer := self.data.trainer:
            step = self.data.batch_size * trainer.world_size  # the crops of one batch on every device
            batches = trainer.fit_loop.epoch_loop.batch_progress.current.completed
            done = batches % max(self.count // step, 1) * step
            first = trainer.current_epoch * self.count + done
        return iter(range(first, first + self.count))  # after a resumption, the last ones are never asked for

    def __len__(self) -> int:
        return self.count


class ResumableLoader(DataLoader):
    """A loader that a run can go on with in the middle of an epoch; the state that takes is the trainer's.

    Lightning looks for these two methods, and warns of loaders without them.
    """

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@runtime_checkable
class HoldsOut(Protocol):
    """A data module that knows whether it holds out anything to measure with."""

    def unmeasured(self) -> str | None:
        """Why nothing can be measured; None where something can."""
        ...


def no_validation(reason: str, trainer: lightning.Trainer | None) -> list[DataLoader]:
    """No loaders, and one line that says why, from the first process alone."""
    if trainer is None or trainer.is_global_zero:
        print(f"{reason}: no validation", file=sys.stderr, flush=True)
    return []


def check_crops(seconds: float, *, batch_size: int, crops_per_epoch: int) -> None:
    """Raise ValueError where there would be no crops, or not one whole batch of them."""
    if not (seconds > 0 and 1 <= batch_size <= crops_per_epoch):
        raise ValueError(
            "expected crops of more than 0 seconds and a batch_size of 1 … crops_per_epoch, got "
            f"seconds {seconds:g}, batch_size {batch_size}, crops_per_epoch {crops_per_epoch}"
        )


def check_any_to_train_on(chosen: int, place: object, what: str = "recording") -> None:
    """Raise ValueError where everything is held out."""
    if not chosen:
        raise ValueError(
            f"expected a {what} to train on in {place}, all are held out for validation: add more music"
        )
