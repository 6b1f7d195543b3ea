"""Which of a run's processes this is: the first one holds the folder, writes to it and talks to the user."""

import os
import sys
from typing import Any

from lightning.pytorch.utilities.rank_zero import rank_zero_only


def is_first_process() -> bool:
    """Whether this is the run's first process, on its first machine, or its only one."""
    node = os.environ.get("NODE_RANK", os.environ.get("GROUP_RANK", "0"))
    first: bool = rank_zero_only.rank == 0  # type: ignore[attr-defined]  # Lightning sets it
    return first and node == "0"


def say(line: str) -> None:
    """Print a line to the user, once for all processes of a run."""
    if is_first_process():
        print(line, file=sys.stderr, flush=True)


def check_alone(trainer: Any, part: str) -> None:
    """Raise ValueError where several processes would fit what has no gradients to share."""
    devices = trainer.devices
    several = isinstance(devices, list) and len(devices) > 1
    if several or (str(devices) not in ("auto", "1") and not isinstance(devices, list)):
        raise ValueError(
            f"expected one process for {part}, which is fitted without gradients, got devices {devices}: "
            "leave --trainer.devices out"
        )
    if trainer.strategy != "auto" or trainer.num_nodes != 1:
        raise ValueError(
            f"expected one process for {part}, which is fitted without gradients, got strategy "
            f"{trainer.strategy} and num_nodes {trainer.num_nodes}: leave both out"
        )
