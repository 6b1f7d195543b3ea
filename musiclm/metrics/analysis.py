"""librosa, taken in by one process at a time: nothing else of the project imports it.

As its modules are imported, numba compiles some of their functions and keeps the machine code beside them, in
two files each that name each other's symbols. Two processes that do so at once, for the first time on a
machine, leave files of which one is the first's and the other the second's; every process that loads these
afterwards dies of a segmentation fault (numba 0.68, guvectorize with cache=True). So all modules that compile
are imported here, under a lock.
"""

import fcntl
import importlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any

# What is used, and what compiles as it is imported. Not `beat`: nothing here uses it, and a function of it is
# compiled anew in every process, for 1.6 s.
MODULES = (
    "core",
    "core.audio",
    "core.pitch",
    "decompose",
    "feature",
    "filters",
    "onset",
    "util.utils",
)


@cache
def librosa() -> Any:
    """The package.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    with alone():
        for name in MODULES:
            importlib.import_module(f"librosa.{name}")
        return importlib.import_module("librosa")


def lock_file() -> Path:
    """Who holds it takes in librosa; one for each user, whose machine code is in a place of their own."""
    return Path(tempfile.gettempdir()) / f"musiclm-librosa-{os.getuid()}.lock"


@contextmanager
def alone() -> Iterator[None]:
    """Wait until no other process of this user is at it; where nothing can be locked, do not."""
    descriptor = None
    with suppress(OSError):  # no place for temporary files, or a file system without locks
        descriptor = os.open(lock_file(), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        yield
    finally:
        if descriptor is not None:
            os.close(descriptor)  # the file stays: who waits for it has it open
