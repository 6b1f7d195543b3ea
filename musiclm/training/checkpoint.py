"""The checkpoints of a run: the last two are kept, each whole, and are read without running code from them.

last.ckpt        renewed every two minutes and after every epoch
previous.ckpt    the one before it, gone on from where last.ckpt is broken or missing
"""

import pickle
import time
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from musiclm.files import replacing
from musiclm.training.divergence import check_weights
from musiclm.training.processes import say

LAST = "last.ckpt"
PREVIOUS = "previous.ckpt"
RECORD = "musiclm"  # key of what this project adds to a checkpoint: how the run was begun
WHOLE = {"state_dict", "global_step", "epoch", "loops"}  # keys that every checkpoint of Lightning has


class BrokenCheckpoint(ValueError):
    """A file that is no checkpoint, or no whole one."""


@dataclass(frozen=True)
class Found:
    """What is known of a checkpoint before its weights are loaded."""

    path: Path
    step: int
    epoch: int  # from 0, the one that is under way or has just ended
    seconds: float | None  # trained so far, where the trainer has a max_time
    record: dict[str, Any]  # how the run was begun; empty in checkpoints of older versions


class CheckpointFiles(TorchCheckpointIO):
    """Lightning's reading and writing of checkpoints: by rename, with the one before kept, never code.

    Lightning itself writes first to memory, then to the system's temporary folder, and then moves the file.
    """

    def __init__(self) -> None:
        self.last_is_broken = False  # it must not take the place of a previous one that is whole

    def save_checkpoint(
        self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None
    ) -> None:
        path = Path(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary:
                with temporary.open("wb") as file:
                    torch.save(checkpoint, file)
                if path.is_file() and not self.last_is_broken:
                    path.replace(path.with_name(PREVIOUS))
        except (OSError, RuntimeError) as error:
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):  # torch's own complaint hides what the system said
                raise
            kept = f"{path} is kept as it was" if path.is_file() else "nothing is kept yet"
            raise OSError(
                f"expected to write a checkpoint to {path.parent}, got: {cause.strerror} ({kept}): "
                "make room, and give the same command again"
            ) from error
        self.last_is_broken = False

    def load_checkpoint(self, path: str | Path, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return super().load_checkpoint(path, *args, **{**kwargs, "weights_only": True})


class LastCheckpoint(Checkpoint):
    """Saves every few minutes and after every epoch, and never weights that are not finite.

    Crops are drawn by their number, so that a run goes on exactly as if it had not been stopped.
    """

    seconds_between = 120.0

    def __init__(self, path: Path) -> None:
        self.path = path
        self.record: dict[str, Any] = {}  # kept in the checkpoint: how the run was begun
        self.saved = time.monotonic()

    def on_save_checkpoint(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint[RECORD] = self.record

    def on_train_batch_start(self, trainer: lightning.Trainer, *_: object) -> None:
        """Before a batch, when everything the last one does is done."""
        if time.monotonic() - self.saved >= self.seconds_between and trainer.world_size == 1:
            self._save(trainer)

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        self._save(trainer)

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        if isinstance(exception, ValueError | OSError):
            return  # a line of its own says what to do
        kept = f"the same command goes on from {self.path}" if self.path.is_file() else "nothing is kept yet"
        say(f"stopped at step {trainer.global_step}: {kept}")

    def _save(self, trainer: lightning.Trainer) -> None:
        check_weights(trainer, self.path)
        self.saved = time.monotonic()
        trainer.save_checkpoint(self.path)


def find_checkpoint(folder: Path) -> Found | None:
    """The last whole checkpoint of a run; None where it has none yet.

    Raises:
        BrokenCheckpoint: there are checkpoints, and none is whole.
    """
    broken = []
    for name in (LAST, PREVIOUS):
        if not (folder / name).is_file():
            continue
        try:
            found = read_checkpoint(folder / name)
        except BrokenCheckpoint as error:
            broken.append(str(error))
            continue
        if name == PREVIOUS:
            say(f"{broken[0] if broken else f'{folder / LAST} is missing'}; the one before it is used")
        return found
    if broken:
        raise BrokenCheckpoint(f"{'; '.join(broken)}: remove what is broken, or name another folder")
    return None


def read_checkpoint(path: Path) -> Found:
    """What a checkpoint says of itself, once it is known to be whole. Its code, if it has any, is not run.

    Raises:
        FileNotFoundError: there is none.
        BrokenCheckpoint: it is empty, cut short, damaged, of something else, or has more in it than weights.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a checkpoint at {path}, found none")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # torch does not compare checksums
        if damaged:
            raise BrokenCheckpoint(f"expected a whole checkpoint, {path} is damaged (at {damaged})")
        content = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except zipfile.BadZipFile:
        raise BrokenCheckpoint(f"expected a checkpoint, {path} is none, or was cut short") from None
    except pickle.UnpicklingError:
        raise BrokenCheckpoint(
            f"expected a checkpoint of weights alone, {path} holds code: not read"
        ) from None
    except (RuntimeError, EOFError, KeyError) as error:  # an archive of something else
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise BrokenCheckpoint(f"expected a checkpoint, {path} is another archive") from None
    if not (isinstance(content, dict) and content.keys() >= WHOLE):
        raise BrokenCheckpoint(f"expected a checkpoint of a run, {path} holds something else")
    timer = content.get("callbacks", {}).get("Timer", {}).get("time_elapsed", {})
    return Found(
        path, content["global_step"], content["epoch"], timer.get("train"), content.get(RECORD) or {}
    )
