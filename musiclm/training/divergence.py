"""A training that has diverged stops at once, and what was kept before it did stays.

The loss is looked at after every step on a CPU, and after every tenth elsewhere: reading a number from a GPU
waits for all that it has to do. The weights are looked at before they are kept.
"""

from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from musiclm.training.sharded import own_share

STEPS_BETWEEN_LOOKS = 10  # on a GPU
# With 16-mixed, a loss that overflows now and then is skipped and its scale lowered; not so many in a row.
SKIPPED_WITH_SCALE = 50


class Diverged(ValueError):
    """The loss or the weights have become NaN or infinite."""


class StopWhenDiverged(Callback):
    """Raises `Diverged`, on all devices at once, when the loss is not finite.

    Args:
        path: of the checkpoint that is kept, to be named in the message.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.in_a_row: Tensor = torch.zeros((), dtype=torch.int64)  # losses that were not finite, until now

    def on_train_batch_end(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, outputs: Any, *_: object
    ) -> None:
        if not (isinstance(outputs, dict) and isinstance(outputs.get("loss"), Tensor)):
            return  # what is fitted without gradients
        loss = outputs["loss"].detach()
        self.in_a_row = torch.where(loss.isfinite(), 0, self.in_a_row.to(loss.device) + 1)
        if loss.device.type != "cpu" and trainer.global_step % STEPS_BETWEEN_LOOKS:
            return
        allowed = SKIPPED_WITH_SCALE if trainer.precision == "16-mixed" else 0
        finite = int(self.in_a_row) <= allowed
        if not trainer.strategy.reduce_boolean_decision(finite, all=True):
            raise Diverged(_message(f"the loss is {float(loss):g}", trainer, self.path))


def check_weights(trainer: lightning.Trainer, path: Path) -> None:
    """Raise `Diverged` where weights, on any device, are not finite; `path` is of the checkpoint kept."""
    state = trainer.lightning_module.state_dict().values()
    finite = all(bool(value.isfinite().all()) for value in own_share(state))
    if not trainer.strategy.reduce_boolean_decision(finite, all=True):
        raise Diverged(_message("weights are NaN or infinite", trainer, path))


def _message(seen: str, trainer: lightning.Trainer, path: Path) -> str:
    groups = trainer.optimizers[0].param_groups
    rate = max(group.get("initial_lr", group["lr"]) for group in groups)
    begins = f"the training has diverged at step {trainer.global_step}, {seen}"
    if rate == 0:  # fitted without gradients
        return f"{begins}: expected finite values to fit it to; look for recordings that are damaged"
    cause = f"the usual cause is too high a learning rate, here {rate:g}"
    if trainer.precision in ("16-mixed", "bf16-true"):
        cause += f", or too few bits, here {trainer.precision}"
    remedy = "train into another folder with a lower one (--model.init_args.optimizer.init_args.lr)"
    if path.is_file():
        remedy += f", from the start or from the last finite weights (--ckpt_path {path})"
    return f"{begins}: {cause}; {remedy}"
