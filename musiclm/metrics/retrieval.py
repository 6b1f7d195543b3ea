"""Retrieval: how well one thing finds what belongs to it among many, by the cosine of their embeddings."""

from torch import Tensor


def retrieval(queries: Tensor, candidates: Tensor, fits: Tensor) -> dict[str, float]:
    """How well queries [N, D] find what fits them among candidates [M, D], all on the unit sphere.

    `fits` [N, M] is true where a candidate belongs to a query, of which each has one at least; its best one
    is ranked among those that do not. recall_1 and recall_10 are fractions; median_rank counts from 1 (chance
    is about M / 2 where one fits).
    """
    similarity = queries @ candidates.T  # [N, M]
    own = similarity.masked_fill(~fits, -2.0).amax(dim=1, keepdim=True)  # below every cosine
    # Ties count half, so that a model that says the same of everything does not look perfect.
    rank = 1 + ((similarity > own) & ~fits).sum(1) + ((similarity == own) & ~fits).sum(1) / 2
    return {
        "recall_1": (rank <= 1).float().mean().item(),
        "recall_10": (rank <= 10).float().mean().item(),
        "median_rank": rank.median().item(),
    }


def others_mean(similarity: Tensor) -> Tensor:
    """Of each row of a square matrix [N, N], the mean of all entries but the one on the diagonal: [N]."""
    return (similarity.sum(dim=1) - similarity.diagonal()) / (len(similarity) - 1)
