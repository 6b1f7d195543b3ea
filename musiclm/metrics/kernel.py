"""The kernel distance between two sets of vectors; of embeddings of music, the KAD (Chung et al.,
2502.15602).

It is the squared maximum mean discrepancy of a Gaussian kernel (Gretton et al., 2012): 0 for the same
distribution, whatever that is, and unbiased, so that it does not depend on how many vectors there are, and
may fall below 0.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

SCALE = 100.0  # by which the KAD is given
ROWS = 1024  # that distances are taken of at once
PAIRS = 4_000_000  # of the reference, whose median distance is the bandwidth: more do not move it


def median_distance(vectors: Tensor) -> float:
    """The median distance between two of the vectors [N, D]; of very many, between those of an even choice.

    Raises:
        ValueError: fewer than two vectors, or all the same.
    """
    step = max(1, round(len(vectors) / (2 * PAIRS) ** 0.5))
    median = float(torch.pdist(vectors[::step].double()).median()) if len(vectors) > 1 else 0.0
    if median <= 0:
        raise ValueError(f"expected 2 different embeddings or more in the reference, got {len(vectors)}")
    return median


def mean_kernels(first: Sequence[Tensor], second: Sequence[Tensor], bandwidth: float) -> Tensor:
    """The mean of exp(-d^2 / (2 bandwidth^2)) over the windows of each two clips, [clips, clips].

    Args:
        first: a clip's windows [W, D] each.
        second: likewise.
        bandwidth: of the kernel.
    """
    windows = torch.cat(list(second)).double()
    own, others = _averaging(first), _averaging(second)
    rows, place = torch.zeros(len(first), len(second), dtype=torch.float64), 0
    for some in torch.cat(list(first)).double().split(ROWS):
        distances = torch.cdist(some, windows).square()  # [rows, N]
        kernel = (-distances / (2 * bandwidth**2)).exp()
        rows += own[:, place : place + len(some)] @ (kernel @ others.T)
        place += len(some)
    return rows


def discrepancy(first: Tensor, second: Tensor, between: Tensor) -> float:
    """The unbiased squared discrepancy of two sets of clips, by the mean kernels within and between them.

    A clip is not compared with itself: its windows overlap, and say little anew.

    Args:
        first: [N, N].
        second: [M, M].
        between: [N, M].
    """

    def within(kernels: Tensor) -> float:
        count = len(kernels)
        return float((kernels.sum() - kernels.diagonal().sum()) / (count * (count - 1)))

    return within(first) + within(second) - 2 * float(between.mean())


def kernel_distance(
    first: Sequence[Tensor], second: Sequence[Tensor], bandwidth: float | None = None
) -> float:
    """The KAD of clips to reference clips, each of windows [W, D].

    Args:
        first: the clips.
        second: the reference, whose median distance is the bandwidth where none is given.
        bandwidth: of the kernel.

    Raises:
        ValueError: fewer than two clips in a set.
    """
    if min(len(first), len(second)) < 2:
        raise ValueError(f"expected at least 2 clips on both sides, got {len(first)} and {len(second)}")
    width = median_distance(torch.cat(list(second))) if bandwidth is None else bandwidth
    pairs = ((first, first), (second, second), (first, second))
    return SCALE * discrepancy(*(mean_kernels(one, two, width) for one, two in pairs))


def _averaging(clips: Sequence[Tensor]) -> Tensor:
    """The matrix [clips, windows] that takes the mean of each clip's windows."""
    counts = torch.tensor([len(clip) for clip in clips])
    owner = torch.repeat_interleave(torch.arange(len(clips)), counts)
    return torch.nn.functional.one_hot(owner, len(clips)).T.double() / counts[:, None]
