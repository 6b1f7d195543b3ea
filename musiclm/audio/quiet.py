"""Keeps what C libraries print about a broken file off the user's terminal."""

import ctypes
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_lock = threading.Lock()
_inside = 0  # threads within `quiet_libraries`
_terminal: int | None = None  # C's `stderr` as it was
_nowhere: int | None = None  # a FILE* of /dev/null, opened once


@contextmanager
def quiet_libraries() -> Iterator[None]:
    """Drop what is printed to C's `stderr`, such as mpg123's notes (libsndfile gives it no other place).

    The C library's variable `stderr` is pointed at /dev/null until the last thread has left. Python, child
    processes and C++ write to descriptor 2 by themselves and are not touched: nothing of ours is lost. The
    GNU C library lets a program set the variable ("Standard Streams" in its manual); with others nothing is
    done.
    """
    global _inside, _terminal
    variable = _stderr()
    if variable is None:
        yield
        return
    with _lock:
        if _inside == 0:
            _terminal = variable.value
            variable.value = _devnull()
        _inside += 1
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if _inside == 0:
                variable.value = _terminal


def _stderr() -> ctypes.c_void_p | None:
    """The variable `stderr` that libraries of this process share, where it may be set."""
    if "CS_GNU_LIBC_VERSION" not in os.confstr_names:
        return None
    return ctypes.c_void_p.in_dll(ctypes.CDLL(None), "stderr")


def _devnull() -> int | None:
    global _nowhere
    if _nowhere is None:
        fopen = ctypes.CDLL(None).fopen
        fopen.restype, fopen.argtypes = ctypes.c_void_p, [ctypes.c_char_p, ctypes.c_char_p]
        _nowhere = fopen(os.devnull.encode(), b"we")  # e: not inherited by child processes
    return _nowhere or _terminal
