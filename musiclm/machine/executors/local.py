"""Work in several processes, with an account of how one of them ended."""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class LocalProcesses:
    """Processes of this machine.

    Args:
        processes: how many; one alone is this one.
    """

    processes: int

    def run(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """See `Executor`."""
        return in_processes(work, items, self.processes)


def in_processes(work: Callable[[Item], Result], items: Sequence[Item], processes: int) -> Iterator[Result]:
    """`work` on every item, its results as they come. One process alone is this one.

    Raises:
        OSError: a process was killed, has crashed, or could not begin. Errors of `work` are passed on.
    """
    if min(processes, len(items)) <= 1:
        yield from map(work, items)
        return
    before = multiprocessing.active_children()
    # spawn: a fork of a process with threads, as torch has them, may hang
    with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
        jobs = [pool.submit(work, item) for item in items]
        own = [process for process in multiprocessing.active_children() if process not in before]
        try:
            for job in as_completed(jobs):
                yield job.result()
        except BrokenProcessPool:
            raise OSError(cause_of_death(own)) from None
        finally:
            pool.shutdown(cancel_futures=True)


def cause_of_death(processes: Sequence[BaseProcess]) -> str:
    """Why a process of a pool ended, of which the pool only says that it did."""
    for process in processes:
        process.join(timeout=10)
    by_the_pool = (0, None, -signal.SIGTERM)  # how it ends the others
    codes = [process.exitcode for process in processes if process.exitcode not in by_the_pool]
    code = codes[0] if codes else None
    if code is None or code == -signal.SIGKILL:
        return "a process was killed, most likely for want of memory: start again with fewer workers"
    if code < 0:
        return (
            f"a process has crashed ({signal.Signals(-code).name}): start again with one worker to see where"
        )
    return f"a process ended with exit code {code} before it could begin: its own message stands above"
