"""Planted copies: what the audit sees of a copy of which some tokens were replaced."""

import torch
from torch import Tensor

REPLACED = tuple(round(0.05 * step, 2) for step in range(11))  # 0 … 50 % of the tokens
NEAREST = 8  # neighbours of a centroid that count as near; the farther half of all counts as far


def plant(
    tokens: Tensor, neighbours: Tensor, *, replaced: float, far: bool, generator: torch.Generator
) -> Tensor:
    """Copies [P, S] of sequences with a share of the tokens replaced by near or by far centroids.

    Args:
        tokens: the originals [P, S].
        neighbours: of every centroid, the nearest first: itself [V, V].
        replaced: share of the tokens, 0 … 1.
        far: replace by one of the far half of the centroids, and not by one of the nearest.
        generator: of the draws.
    """
    choices = neighbours[:, len(neighbours) // 2 :] if far else neighbours[:, 1 : 1 + NEAREST]
    drawn = torch.randint(choices.shape[1], tokens.shape, generator=generator)
    others = choices[tokens.flatten(), drawn.flatten()].view(tokens.shape)
    count = round(replaced * tokens.shape[1])
    ranks = torch.rand(tokens.shape, generator=generator).argsort(dim=1).argsort(dim=1)
    return torch.where(ranks < count, others, tokens)
