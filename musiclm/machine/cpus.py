"""How many CPUs this process may use, and how its threads leave them to others.

A process may be allowed fewer CPUs than the machine has: by its affinity (`taskset`, Slurm, cpusets), or by
a quota of time (cgroups: containers, systemd). With more threads than that, each waits for the others, and a
group that has used up its quota stands still until the next period.

Threads of OpenMP, which torch uses, spin while they wait: by default for some ten milliseconds, in which a
thread that has work may stand in the queue behind them. The environment sets both, and only before torch
is imported.
"""

import math
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath

# A quarter of a millisecond, at some 50 ns for each look: longer than most of torch's operations are apart
# while a codec decodes, which takes a quarter less time than with a wait of 50 us.
SPINS = 5000
GLANCE = 5e-4  # seconds between two looks at what is running: what ends within them takes no CPU from anybody


def usable_cpus(root: Path = Path("/")) -> int:
    """CPUs that this process may use: those of its affinity, or fewer by its quota, rounded up; at least 1.

    Args:
        root: where `proc` and the file systems of cgroups are.
    """
    quota = cpu_quota(root)
    affinity = _affinity()
    return affinity if quota is None else max(1, min(affinity, math.ceil(quota)))


def cpu_quota(root: Path = Path("/")) -> float | None:
    """CPUs' worth of time that the process's cgroups leave it, the smallest up the tree; None: no limit.

    Sources: https://docs.kernel.org/admin-guide/cgroup-v2.html (cpu.max) and
    https://docs.kernel.org/scheduler/sched-bwc.html (cpu.cfs_quota_us, of version 1).
    """
    quotas = []
    for folder, top in _cpu_groups(root):
        while True:
            quotas.append(_quota_of(folder))
            if folder == top or top not in folder.parents:
                break
            folder = folder.parent
    return min((quota for quota in quotas if quota is not None), default=None)


def share_cpus() -> None:
    """Let the threads of libraries that are imported from now on keep to the usable CPUs, and wait asleep.

    What the user has set stays: OMP_NUM_THREADS, OMP_WAIT_POLICY, GOMP_SPINCOUNT. Processes started from this
    one do the same.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", str(SPINS))
    usable = usable_cpus()
    if usable < _affinity():  # OpenMP follows affinity by itself
        os.environ.setdefault("OMP_NUM_THREADS", str(usable))


def limit_torch() -> None:
    """The same for torch's number of threads, where torch may have been imported before.

    A number that the user has set stays.
    """
    import torch

    usable = usable_cpus()
    unset = "OMP_NUM_THREADS" not in os.environ and torch.get_num_threads() == _affinity()
    if unset and usable < torch.get_num_threads():
        torch.set_num_threads(usable)


@contextmanager
def on_free_cpus() -> Iterator[None]:
    """No more threads of torch than CPUs that others leave free, for a short piece of work.

    Torch gives each thread an equal share, and goes on when the last one is done. With a thread that stands
    in the queue behind another process, each of a network's hundreds of operations takes ten milliseconds.
    """
    import torch

    wanted = torch.get_num_threads()
    free = wanted if wanted == 1 else min(wanted, free_cpus())
    if free == wanted:
        yield
        return
    torch.set_num_threads(free)
    try:
        yield
    finally:
        torch.set_num_threads(wanted)


def free_cpus(root: Path = Path("/")) -> int:
    """CPUs of the machine that no other process runs on or waits for, at least 1.

    Args:
        root: where `proc` is. Without it, all are taken for free.
    """
    cpus = os.cpu_count() or 1
    if others := _others_running(root):
        time.sleep(GLANCE)
        others = min(others, _others_running(root))
    return max(cpus - others, 1)


def multiplies_bfloat16() -> bool:
    """Whether torch multiplies bfloat16 matrices on this CPU as fast as float32 ones, or faster.

    A CPU without AVX-512 (or Arm's bfloat16), as most laptops have, takes ten to a hundred times as long.
    """
    import torch

    # oneDNN's own answer; torch has no public name for it.
    return torch.backends.mkldnn.is_available() and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def _affinity() -> int:
    """CPUs that the process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _others_running(root: Path) -> int:
    """Tasks of the machine that run or wait for a CPU, but for this process's threads (proc(5))."""
    try:
        with open(root / "proc/loadavg", encoding="ascii") as file:
            running = int(file.read().split()[3].partition("/")[0])
        if running <= 1:  # this thread
            return 0
        own, tasks = 0, str(root / "proc/self/task")
        for task in os.listdir(tasks):
            with suppress(FileNotFoundError, ProcessLookupError), open(f"{tasks}/{task}/stat", "rb") as file:
                own += file.read().rpartition(b")")[2].lstrip().startswith(b"R")  # a name may hold anything
    except (OSError, ValueError, IndexError):  # not Linux
        return 0
    return max(running - own, 0)


def _cpu_groups(root: Path) -> list[tuple[Path, Path]]:
    """The folders of the cgroups that rule the process's CPU time, each with the top of its tree."""
    try:
        mounts = (root / "proc/self/mountinfo").read_text(encoding="utf-8").splitlines()
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:  # not Linux
        return []
    paths: dict[str, str] = {}  # of the process's group, by controller; "" for version 2
    for line in groups:
        _, controllers, path = line.split(":", 2)
        paths.update(dict.fromkeys(controllers.split(","), path))
    found = []
    for line in mounts:  # proc(5): ... root mount-point options [optional ...] - type source super-options
        before, _, after = line.partition(" - ")
        kind, _, options = after.split(" ", 2)
        version_1 = kind == "cgroup" and "cpu" in options.split(",")
        if kind != "cgroup2" and not version_1:
            continue
        mounted, point = before.split(" ")[3:5]
        controller = "cpu" if version_1 else ""
        if controller in paths:
            top = root / point.lstrip("/")
            found.append((top / _below(paths[controller], mounted), top))
    return found


def _below(path: str, mounted: str) -> PurePosixPath:
    """A group's path below what is mounted; the top where it lies outside, as in some containers."""
    try:
        relative = PurePosixPath(path).relative_to(mounted)
    except ValueError:
        return PurePosixPath()
    return PurePosixPath() if ".." in relative.parts else relative


def _quota_of(folder: Path) -> float | None:
    """The quota of one cgroup in CPUs; None where there is none."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text(encoding="ascii").split()
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text(encoding="ascii").strip()
            period = (folder / "cpu.cfs_period_us").read_text(encoding="ascii").strip()
        limited = quota != "max" and int(quota) > 0 and int(period) > 0  # version 1 writes -1 for none
        return int(quota) / int(period) if limited else None
    except (OSError, ValueError):
        return None
