"""What tests have done on a cluster: in a module of its own, that workers import in no time."""

import os
import signal
import time
from pathlib import Path


def square(number: int) -> int:
    """Raises LookupError below 0."""
    if number < 0:
        raise LookupError(f"no square of {number}")
    return number * number


def dies(mark: Path) -> str:
    """The worker is killed by a mark called `always`, and by one called `once` the first time."""
    if mark.name == "always" or (mark.name == "once" and not mark.exists()):
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return mark.name


def slowly(number: int) -> tuple[int, str]:
    """The number, and which node it was on."""
    import ray

    time.sleep(0.5)
    return number, ray.get_runtime_context().get_node_id()
