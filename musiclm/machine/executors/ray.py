"""Work as tasks of a Ray cluster (https://docs.ray.io): an item a task with a CPU of its own, or a GPU.

All nodes see the same files under the same names, as clusters with a shared file system do: a task begins in
the folder that the command was started in.
"""

import logging
import os
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from musiclm.extras import check_package

Item = TypeVar("Item")
Result = TypeVar("Result")

LOCAL = "local"
ANSWER_SECONDS = 10.0
TRIES = 3  # of an item whose worker or node has died; what kills three of them would kill all


@dataclass(frozen=True)
class RayCluster:
    """Tasks of a cluster.

    Args:
        address: of its head (`host:6379`, `ray://host:10001`, `auto`), or `local`: one on this machine that
            ends with the work.
        gpus: whether a task takes a GPU, where the cluster has some.
    """

    address: str
    gpus: bool = False

    def run(self, work: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        """See `Executor`. The loss of an item does not stop the others.

        Raises:
            ValueError: there is no such cluster, or no Ray.
        """
        check_package("ray")
        import ray
        from ray.exceptions import RayError, RayTaskError

        with _connected(self.address):
            gpus = 1 if self.gpus and ray.cluster_resources().get("GPU") else 0
            task: Any = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=TRIES - 1)(_in_folder)
            shared, folder, lost = ray.put(work), os.getcwd(), 0
            pending = [task.remote(shared, item, folder) for item in items]
            while pending:
                (done,), pending = ray.wait(pending)
                try:
                    result = ray.get(done)
                except RayTaskError as error:
                    raise error.cause if error.cause is not None else error  # noqa: B904  # its own, as elsewhere
                except RayError:
                    lost += 1
                else:
                    yield result
            if lost:
                raise OSError(
                    f"{lost} of {len(items)} tasks were lost {TRIES} times, with a worker or a node: what is "
                    "done stays, the same command does the rest"
                )


@contextmanager
def _connected(address: str) -> Iterator[None]:
    """A connection to a cluster while the block lasts, or the one that there is."""
    import ray

    if ray.is_initialized():
        yield
        return
    _check_reached(address)
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing is told to anybody
    dashboard = False if address == LOCAL else None
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR, include_dashboard=dashboard)
    except (ConnectionError, ValueError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"expected a Ray cluster at {address}, or {LOCAL}: {reason}") from None
    try:
        yield
    finally:
        ray.shutdown()


def _check_reached(address: str) -> None:
    """Raise ValueError where nothing answers at `host:port`: Ray would try for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=ANSWER_SECONDS).close()
    except (OSError, OverflowError) as error:
        raise ValueError(f"expected a Ray cluster at {address}, nothing answers there: {error}") from None


def _in_folder(work: Callable[[Item], Result], item: Item, folder: str) -> Result:
    """What a task does."""
    os.chdir(folder)
    return work(item)
