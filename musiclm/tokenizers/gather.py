"""What several devices learn together, one of them being what there mostly is."""

from typing import Any, TypeVar

import torch
from torch import Tensor
from torch.distributed import (
    all_gather_into_tensor,
    all_gather_object,
    all_reduce,
    get_rank,
    get_world_size,
    is_available,
    is_initialized,
)

Item = TypeVar("Item")


def from_all_devices(frames: Tensor) -> Tensor:
    """The `frames` [N, ...] of every device, [devices * N, ...], on each of them; of one device, its own.

    Statistics and codebooks that follow moving averages have no gradients for DDP to share; each device has
    to see the frames of all. All must have as many.
    """
    if _alone():
        return frames
    gathered = frames.new_empty(get_world_size() * frames.shape[0], *frames.shape[1:])
    with torch.no_grad():
        all_gather_into_tensor(gathered, frames.contiguous())
    return gathered


def rows_from_all_devices(rows: Tensor) -> Tensor:
    """The `rows` [n, ...] of every device, [sum of n, ...] in the devices' order, with gradients.

    A device may have another number of rows than the next. What comes back to a row is the sum of what all
    devices make of it: where each computes the same loss from all rows, and DDP then averages the gradients
    of the parameters, they are those of one device with the whole batch.
    """
    if _alone():
        return rows
    sizes = from_all_devices(torch.tensor([len(rows)], device=rows.device)).tolist()
    return _GatheredRows.apply(rows, sizes)


def items_from_all_devices(item: Item) -> list[Item]:
    """What every device has in the place of `item` (strings, numbers), in the devices' order."""
    if _alone():
        return [item]
    items: list[Any] = [None] * get_world_size()
    all_gather_object(items, item)
    return items


class _GatheredRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        padded = rows.new_zeros(max(sizes), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = from_all_devices(padded).chunk(len(sizes))
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        gradient = gradient.clone(memory_format=torch.contiguous_format)
        all_reduce(gradient)
        return gradient.split(ctx.sizes)[get_rank()], None


def _alone() -> bool:
    return not (is_available() and is_initialized()) or get_world_size() == 1
