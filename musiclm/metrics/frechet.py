"""The Fréchet distance between two sets of vectors, each taken for draws from a normal distribution.

Of embeddings of music it is the FAD (Kilgour et al., 1812.08466).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

SIZES = 12  # of sets that the extrapolation draws
SMALLEST = 0.25  # of the clips: the smallest set


def frechet_distance(first: Tensor, second: Tensor) -> float:
    """|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)) of the means and covariances of [N, D] and [M, D].

    Raises:
        ValueError: fewer than two embeddings in a set have no covariance.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(
            f"expected at least 2 windows of music on both sides, got {len(first)} and {len(second)}: "
            "give it more, or longer, clips"
        )
    first, second = first.double(), second.double()
    difference = first.mean(dim=0) - second.mean(dim=0)
    one, two = torch.cov(first.T), torch.cov(second.T)  # [D, D]
    values, vectors = torch.linalg.eigh(one)
    root = vectors * values.clamp(min=0).sqrt() @ vectors.T
    # C1 C2 and root C2 root have the same eigenvalues, and the second is symmetric.
    mixed = torch.linalg.eigvalsh(root @ two @ root).clamp(min=0).sqrt().sum()
    return max(float(difference.square().sum() + one.trace() + two.trace() - 2 * mixed), 0.0)


class Extrapolated(NamedTuple):
    """The distance of infinitely many clips, and the share of the spread that the line explains."""

    distance: float
    r2: float


def distance_at_infinity(clips: Sequence[Tensor], reference: Tensor, *, seed: int = 0) -> Extrapolated:
    """The Fréchet distance to a reference [M, D] that infinitely many clips, of windows [W, D], would have.

    The distance of a finite set is too large by about a constant over its size (Chong and Forsyth,
    1911.07023; of audio, Gui et al., 2311.01616). So it is taken of random sets of several sizes, and a line
    through it over one over the size is followed to 0. The reference is used whole: its own bias stays.

    Sets are drawn without replacement: with it, as fadtk does, the line ends at the distance of the clips as
    they are, bias and all.

    Raises:
        ValueError: fewer than eight clips give no line.
    """
    count = len(clips)
    smallest = max(2, round(SMALLEST * count))
    if count < 8:
        raise ValueError(f"expected 8 clips or more to extrapolate from, got {count}")
    generator = torch.Generator().manual_seed(seed)
    # Even steps of one over the size, so that small sets do not rule the line.
    places = torch.linspace(1 / count, 1 / smallest, SIZES, dtype=torch.float64)
    sizes = sorted({round(1 / place) for place in places.tolist()})
    distances = []
    for size in sizes:
        chosen = torch.randperm(count, generator=generator)[:size].tolist()
        distances.append(frechet_distance(torch.cat([clips[index] for index in chosen]), reference))
    x = torch.tensor([1 / size for size in sizes], dtype=torch.float64)
    y = torch.tensor(distances, dtype=torch.float64)
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    at_infinity = y.mean() - slope * x.mean()
    unexplained = (y - at_infinity - slope * x).square().sum() / (y - y.mean()).square().sum().clamp_min(
        1e-30
    )
    return Extrapolated(float(at_infinity), float(1 - unexplained))
