"""Optimal transport between token histograms: how far one sequence is from another, order aside.

    tokens [P, S], tokens [P, S'] -> costs [P]

MusicLM's approximate match (sec. 5.3): two sequences are compared as histograms over the ids present in
them; moving mass between two ids costs the Euclidean distance of their centroids, and Sinkhorn's algorithm
finds the plan of least cost under an entropic regularization (Cuturi, 1306.0895).

The potentials are kept in the log domain, where nothing overflows. Between two absorptions into them the
iteration multiplies scalings near 1 (Schmitzer, 1610.06519, sec. 3.1): a product of a row and a matrix, where
the plain log domain takes an exponential of every entry of it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

REGULARIZATION = 0.05  # of the mean distance between two centroids
TOLERANCE = 3e-4  # of all mass: what the plan's margins may be wrong by
MAX_ITERATIONS = 10_000
ABSORB_EVERY = 20
PAIRS_AT_ONCE = 128  # of similar size, so that their kernels stay in the cache
TINY = 1e-30


@dataclass(frozen=True)
class Histograms:
    """The ids present in P sequences, and their shares: [P, n] each, padded with id 0 and share 0."""

    ids: Tensor
    shares: Tensor

    def __getitem__(self, rows: Tensor) -> "Histograms":
        return Histograms(self.ids[rows], self.shares[rows])

    def sizes(self) -> Tensor:
        """How many ids are present in each [P]."""
        return (self.shares > 0).sum(dim=1)

    def trimmed(self) -> "Histograms":
        """The same without columns that are padding everywhere."""
        widest = int(self.sizes().max())
        return Histograms(self.ids[:, :widest], self.shares[:, :widest])


def histograms(tokens: Tensor) -> Histograms:
    """Histograms of token sequences [P, S] int64."""
    if tokens.dim() != 2 or tokens.numel() == 0:
        raise ValueError(f"expected sequences of tokens [P, S], neither empty, got {list(tokens.shape)}")
    ordered, length = tokens.sort(dim=1).values, tokens.shape[1]
    first = torch.ones_like(ordered, dtype=torch.bool)
    first[:, 1:] = ordered[:, 1:] != ordered[:, :-1]
    column = first.cumsum(dim=1) - 1  # [P, S], where each token's id stands in the histogram
    ids = torch.zeros_like(ordered).scatter_(1, column, ordered)
    shares = torch.zeros(tokens.shape, device=tokens.device)
    shares.scatter_add_(1, column, torch.full_like(shares, 1 / length))
    return Histograms(ids, shares).trimmed()


def entropies(tokens: Tensor) -> Tensor:
    """Entropy in bits [P] of each sequence's [P, S] distribution of ids."""
    shares = histograms(tokens).shares
    return -(shares * shares.clamp(min=TINY).log2()).sum(dim=1)


def centroid_distances(centroids: Tensor) -> Tensor:
    """Euclidean distances [V, V] between centroids [V, D]."""
    return torch.cdist(centroids.float(), centroids.float(), compute_mode="donot_use_mm_for_euclid_dist")


def default_regularization(distances: Tensor) -> float:
    """The entropic regularization, in the distances' own units."""
    count = len(distances)
    return REGULARIZATION * float(distances.sum()) / max(count * (count - 1), 1)


def transport_costs(
    first: Histograms, second: Histograms, distances: Tensor, *, regularization: float
) -> Tensor:
    """Cost [P] of the regularized optimal plan from each of P histograms to its partner.

    Args:
        first, second: P histograms each, over ids 0 … V - 1.
        distances: cost [V, V] of moving all mass from one id to another.
        regularization: of the entropy, in the units of the distances.
    """
    if len(first.ids) != len(second.ids):
        raise ValueError(f"expected as many histograms as partners, got {len(first.ids)}, {len(second.ids)}")
    if not regularization > 0:
        raise ValueError(f"expected a regularization above 0, got {regularization}")
    costs = torch.empty(len(first.ids), device=distances.device)
    # The larger histogram first (the cost is the same both ways), so that pairs of one chunk have one shape.
    turned = (first.sizes() < second.sizes())[:, None]
    large, small = _exchange(first, second, turned), _exchange(second, first, turned)
    for rows in (large.sizes() * 10_000 + small.sizes()).argsort().split(PAIRS_AT_ONCE):
        costs[rows] = _solve(large[rows].trimmed(), small[rows].trimmed(), distances, regularization)
    return costs


def _exchange(own: Histograms, other: Histograms, where: Tensor) -> Histograms:
    """Histograms whose rows are the other's where [P, 1] says so."""
    missing = max(own.ids.shape[1], other.ids.shape[1])
    ids, other_ids, shares, other_shares = (
        pad(value, (0, missing - value.shape[1])) for value in (own.ids, other.ids, own.shares, other.shares)
    )
    return Histograms(ids.where(~where, other_ids), shares.where(~where, other_shares))


def _solve(first: Histograms, second: Histograms, distances: Tensor, regularization: float) -> Tensor:
    """Costs [P] of a few pairs of similar size; pairs leave the iteration as they converge."""
    costs = distances[first.ids[:, :, None], second.ids[:, None, :]]  # [P, n, m]
    a, b = first.shares, second.shares
    # c-transforms: feasible potentials, with which every row and column of the kernel holds a 1.
    f = costs.amin(dim=2)  # [P, n]
    g = (costs - f[:, :, None]).amin(dim=1)  # [P, m]
    result = torch.empty(len(costs), device=costs.device)
    waiting = torch.arange(len(costs), device=costs.device)
    for _ in range(0, MAX_ITERATIONS, ABSORB_EVERY):
        kernel = ((f[:, :, None] + g[:, None, :] - costs) / regularization).exp()  # [P, n, m]
        turned = kernel.transpose(1, 2).contiguous()  # so that both products read along rows
        v = torch.ones_like(b)
        for _ in range(ABSORB_EVERY):
            u = a / _product(v, turned)  # [P, n]
            v = b / _product(u, kernel)  # [P, m]
        # By the last step one margin is right; where the other is too, the plan is the optimal one.
        done = (u * _product(v, turned) - a).abs().sum(dim=1) < TOLERANCE  # [P]
        result[waiting] = (u * _product(v, turned * costs.transpose(1, 2))).sum(dim=1)
        if done.all():
            break
        f = f + regularization * u.clamp(min=TINY).log()
        g = g + regularization * v.clamp(min=TINY).log()
        if done.any():
            waiting, costs, a, b, f, g = (value[~done] for value in (waiting, costs, a, b, f, g))
    return result


def _product(row: Tensor, matrix: Tensor) -> Tensor:
    """[P, n] times [P, n, m]: [P, m], never 0."""
    return torch.bmm(row[:, None, :], matrix)[:, 0].clamp(min=TINY)
