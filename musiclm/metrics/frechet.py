"""The Fréchet distance between two sets of vectors, each taken for draws from a normal distribution.

Of embeddings of music it is the FAD (Kilgour et al., 1812.08466).
"""

import torch
from torch import Tensor


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
