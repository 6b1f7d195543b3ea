"""The semi-hard triplet loss (FaceNet, 1503.03832, sec. 3.1 and 3.2), which MusicLM's appendix C names."""

import torch
from torch import Tensor


def triplet_loss(vectors: Tensor, same: Tensor, other: Tensor, *, margin: float) -> Tensor:
    """Mean over all pairs of max(0, d(anchor, positive) - d(anchor, negative) + margin), d squared distances.

    `vectors` [N, D] on the unit sphere; `same` [N, N] is true where two belong together, `other` where they
    are known not to, the rest is left out. The negative of a pair is the nearest of those that are farther
    than the positive (semi-hard); where there is none, the farthest of all. 0 where there are no pairs.
    """
    distance = 2 - 2 * vectors @ vectors.T  # [N, N]
    same = same & ~torch.eye(len(same), dtype=torch.bool, device=same.device) & other.any(dim=1, keepdim=True)
    anchor, positive = same.nonzero(as_tuple=True)  # [P]
    if not len(anchor):
        return 0.0 * distance.sum()
    near = distance[anchor, positive]  # [P]
    far, allowed = distance[anchor], other[anchor]  # [P, N]
    semi_hard = allowed & (far > near[:, None])
    nearest = far.masked_fill(~semi_hard, torch.inf).amin(dim=1)
    farthest = far.masked_fill(~allowed, -torch.inf).amax(dim=1)
    negative = torch.where(semi_hard.any(dim=1), nearest, farthest)
    return (near - negative + margin).clamp(min=0).mean()
