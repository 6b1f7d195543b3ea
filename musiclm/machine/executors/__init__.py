"""Where the many equal pieces of a long work are done: processes of this machine, or tasks of a Ray cluster.

A piece is the argument of a function that any process can import; its outcome is small, or a file that is
whole or not there. So a machine that dies takes the pieces with it that it was at, and no others.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from musiclm.machine.cpus import usable_cpus
from musiclm.machine.executors.local import LocalProcesses
from musiclm.machine.executors.ray import RayCluster

__all__ = ["Executor", "LocalProcesses", "RayCluster", "choose_executor"]

Item = TypeVar("Item")
Result = TypeVar("Result")


class Executor(Protocol):
    """Does a work on many items."""

    def run(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """`work` on every item, its results as they come.

        Raises:
            OSError: some of it was lost with a process or a machine. Errors of `work` are passed on.
        """


def choose_executor(ray: str | None, workers: int, *, gpus: bool = False) -> Executor:
    """The executor that a command's options name.

    Args:
        ray: address of a Ray cluster, or `local` for one on this machine; None: no Ray.
        workers: processes of this machine otherwise; 0 takes one per CPU that may be used.
        gpus: whether a task of Ray takes a GPU, where the cluster has some.
    """
    return LocalProcesses(workers or usable_cpus()) if ray is None else RayCluster(ray, gpus=gpus)
