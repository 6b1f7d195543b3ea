"""What the machine can do, measured in the same run as everything it is compared with."""

import platform
import statistics
import time
from collections.abc import Callable

import torch


def bandwidth(device: torch.device, *, megabytes: int = 1024, seconds: float = 2.0) -> float:
    """Bytes per second at which memory far larger than any cache is read, by the median of many sums."""
    values = torch.ones(megabytes * 2**18, device=device)  # float32
    return values.numel() * 4 / usual_time(values.sum, device, seconds=seconds)


def matmul_rate(device: torch.device, dtype: torch.dtype, *, size: int = 2048, seconds: float = 2.0) -> float:
    """Floating-point operations per second of a product of two square matrices, the median of many."""
    a = torch.randn(size, size, device=device).to(dtype)
    b = torch.randn(size, size, device=device).to(dtype)
    return 2 * size**3 / usual_time(lambda: a @ b, device, seconds=seconds)


def usual_time(work: Callable[[], object], device: torch.device, *, seconds: float, settle: int = 3) -> float:
    """Median time in seconds of one call, of as many as fit into `seconds`, after `settle` untimed ones."""
    times: list[float] = []
    with torch.inference_mode():
        for _ in range(settle):
            work()
        end = time.perf_counter() + seconds
        while not times or time.perf_counter() < end:
            synchronise(device)
            start = time.perf_counter()
            work()
            synchronise(device)
            times.append(time.perf_counter() - start)
    return statistics.median(times)


def synchronise(device: torch.device) -> None:
    """Wait for what was given to an accelerator."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def describe(device: torch.device) -> str:
    """The machine in a few words."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return (
        f"{platform.machine()}, {torch.get_num_threads()} threads, {torch.backends.cpu.get_cpu_capability()}"
    )
