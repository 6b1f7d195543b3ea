"""Rotary positions (RoFormer, 2104.09864)."""

import torch
from torch import Tensor


def rotation(places: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines [P, width / 2] of the places [P] of vectors; these may be fractions."""
    rates = 10_000.0 ** (-torch.arange(0, width, 2, device=places.device) / width)
    angles = places[:, None] * rates
    return angles.cos(), angles.sin()


def rotated(vectors: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
    """Vectors [..., P, width], the pairs of whose halves are turned by their places."""
    cos, sin = turns
    first, second = vectors.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, first * sin + second * cos], dim=-1)
