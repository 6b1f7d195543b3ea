"""How a process on a CPU keeps the memory that it frees.

Large tensors come and go with every step. glibc maps each block of more than 32 MiB for itself and hands it
back when it is freed; the system then clears and maps every page of the next one as it is touched, which may
take longer than the work itself. docs/performance.md has the figures.
"""

import ctypes
import os

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # glibc's malloc.h
NEVER, NONE = -1, 0
SETTINGS = ("MALLOC_", "GLIBC_TUNABLES")  # how users set malloc themselves


def keep_freed_memory() -> bool:
    """Have malloc keep freed memory for later tensors, until the process ends. Source: mallopt(3).

    The process then needs a little more than before at its peak, since what was freed does not always fit,
    and does not shrink afterwards. Processes forked from it share what it keeps until either side writes.

    Returns:
        False where malloc is not glibc's, or where the environment sets malloc already.
    """
    if any(name.startswith(SETTINGS) for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another libc; Windows has no library of the process itself
        return False
    # Large blocks come from the heap as small ones do, and its end is not given back.
    return bool(mallopt(MMAP_MAX, NONE) and mallopt(TRIM_THRESHOLD, NEVER))
