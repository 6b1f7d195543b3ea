"""Which device a model runs on."""

from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch

Device = str  # auto, cpu, cuda, cuda:N or mps


def choose_device(name: Device = "auto") -> "torch.device":
    """The device of a name; of `auto` the first CUDA device, else MPS, else the CPU.

    Raises:
        ValueError: no such device, or this machine has none.
    """
    import torch

    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", 0)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    there = {
        "cpu": True,
        "cuda": (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if device.type not in there:
        raise ValueError(f"expected a device among auto, cpu, cuda, cuda:N and mps, got {name!r}")
    if not there[device.type]:
        raise ValueError(f"expected a device of this machine, it has no {name}: say --device cpu")
    return torch.device("cuda", 0) if name == "cuda" else device


def device_of(component: object) -> "torch.device":
    """Where a component's weights are; the CPU for what has none."""
    import torch

    if not isinstance(component, torch.nn.Module):
        return torch.device("cpu")
    tensors = chain(component.parameters(), component.buffers())
    return next((tensor.device for tensor in tensors), torch.device("cpu"))
