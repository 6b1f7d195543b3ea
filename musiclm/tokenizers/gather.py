"""What several devices learn together, one of them being what there mostly is."""

import torch
from torch import Tensor
from torch.distributed import all_gather_into_tensor, get_world_size, is_available, is_initialized


def from_all_devices(frames: Tensor) -> Tensor:
    """The `frames` [N, ...] of every device, [devices * N, ...], on each of them; of one device, its own.

    Statistics and codebooks that follow moving averages have no gradients for DDP to share; each device has
    to see the frames of all. All must have as many.
    """
    if not (is_available() and is_initialized()) or get_world_size() == 1:
        return frames
    gathered = frames.new_empty(get_world_size() * frames.shape[0], *frames.shape[1:])
    with torch.no_grad():
        all_gather_into_tensor(gathered, frames.contiguous())
    return gathered
