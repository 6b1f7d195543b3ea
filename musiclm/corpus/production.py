"""Making many files of sound: each whole or not there, by several processes, in a fixed order."""

import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import TypeVar

import numpy as np

from musiclm.corpus.synthesis import SAMPLE_RATE
from musiclm.files import replacing

Item = TypeVar("Item")


def in_order(work: Callable[[Item], object], items: Iterable[Item], workers: int) -> Iterator[Item]:
    """Do `work` on each item, in `workers` processes; yield the items in order, each when it is done."""
    if workers == 1:
        for item in items:
            work(item)
            yield item
        return

    # Spawned, since forking a process that has torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_die_with_parent) as pool:
        waiting: deque[tuple[Future[object], Item]] = deque()
        try:
            for item in items:
                waiting.append((pool.submit(work, item), item))
                if len(waiting) >= 4 * workers:  # composed ahead: enough that no worker waits
                    yield _first(waiting)
            while waiting:
                yield _first(waiting)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def make_flac(path: Path, make: Callable[[], np.ndarray], *, samples: int, digest: str) -> None:
    """Write what `make` returns, [samples] at 24 kHz, as 16-bit flac, unless it is there already.

    `digest` names what the sound is made from, and is kept in the file.
    """
    import soundfile

    if _is_whole(path, samples, digest):
        return
    with (
        replacing(path) as temporary,
        soundfile.SoundFile(temporary, "w", SAMPLE_RATE, channels=1, subtype="PCM_16", format="FLAC") as file,
    ):
        file.comment = digest
        file.write(make())


def _first(waiting: deque[tuple[Future[object], Item]]) -> Item:
    done, item = waiting.popleft()
    done.result()
    return item


def _is_whole(path: Path, samples: int, digest: str) -> bool:
    """Whether the file is this sound to the last sample."""
    import soundfile

    if not path.is_file():
        return False
    try:
        with soundfile.SoundFile(path) as file:
            if file.frames != samples or file.comment != digest:
                return False
            file.seek(samples - 1)  # fails, or finds nothing, in a file that was cut short
            return len(file.read(1)) == 1
    except soundfile.LibsndfileError:
        return False


def _die_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever: end it."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()
