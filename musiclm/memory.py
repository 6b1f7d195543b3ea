"""How a process on a CPU keeps the memory that it frees.

Tensors of megabytes come and go with every step. glibc hands such memory back to the system at once and asks
for it anew, and the system then clears and maps each page as it is touched, which may take longer than the
work itself: docs/performance.md has the figures.
"""

import ctypes

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # glibc's malloc.h
NEVER, NONE = -1, 0


def keep_freed_memory() -> bool:
    """Have malloc keep freed memory for later tensors, until the process ends; False where it is not glibc's.

    The process does not grow past its peak, and does not shrink below it. Source: mallopt(3).
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # another libc; Windows has no library of the process itself
        return False
    # Large blocks come from the heap as small ones do, and its end is not given back.
    return bool(mallopt(MMAP_MAX, NONE) and mallopt(TRIM_THRESHOLD, NEVER))
