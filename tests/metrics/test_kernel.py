"""The kernel distance is what its formula says, of vectors and of clips of several windows."""

import math

import numpy as np
import pytest
import torch

from musiclm.metrics.kernel import kernel_distance, mean_kernels, median_distance


def normal(count: int, *, shift: float = 0.0, seed: int = 0, width: int = 4) -> tuple[torch.Tensor, ...]:
    points = torch.randn(count, width, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (points + shift).split(1)


def test_the_same_distribution_is_at_no_distance() -> None:
    """On average: it is unbiased, and falls to either side of 0."""
    found = [kernel_distance(normal(60, seed=seed), normal(60, seed=100 + seed), 2.0) for seed in range(30)]
    error = np.std(found) / math.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * error
    assert min(found) < 0 < max(found)


def test_a_shift_gives_the_distance_that_can_be_worked_out() -> None:
    """Of N(0, I) and N(m, I), the expected kernel is (b²/(b²+2))^(D/2) e^(-m²/(2(b²+2))), b its bandwidth."""
    bandwidth, width, shift = 2.0, 4, 1.5
    near = (bandwidth**2 / (bandwidth**2 + 2)) ** (width / 2)
    far = near * math.exp(-width * shift**2 / (2 * (bandwidth**2 + 2)))
    found = kernel_distance(normal(800), normal(800, shift=shift, seed=1), bandwidth)
    assert found == pytest.approx(100 * 2 * (near - far), rel=0.05)


def test_it_agrees_with_scipy() -> None:
    distance = pytest.importorskip("scipy.spatial.distance")
    first, second = normal(40, shift=0.3), normal(50, seed=1)
    x, y = (torch.cat(rows).numpy() for rows in (first, second))
    gamma = 1 / (2 * np.median(distance.pdist(y)) ** 2)
    kernels = [np.exp(-gamma * distance.cdist(a, b, "sqeuclidean")) for a, b in ((x, x), (y, y), (x, y))]
    for kernel in kernels[:2]:
        np.fill_diagonal(kernel, 0)
    expected = kernels[0].sum() / (40 * 39) + kernels[1].sum() / (50 * 49) - 2 * kernels[2].mean()
    assert kernel_distance(first, second) == pytest.approx(
        100 * expected, rel=1e-2
    )  # torch's median is the lower
    bandwidth = float(np.median(distance.pdist(y)))
    assert kernel_distance(first, second, bandwidth) == pytest.approx(100 * expected, rel=1e-9)


def test_a_clip_counts_once_however_many_windows_it_has() -> None:
    first, second = normal(10), normal(12, seed=1)
    longer = [row.repeat(index % 3 + 1, 1) for index, row in enumerate(first)]
    assert kernel_distance(longer, second, 2.0) == pytest.approx(kernel_distance(first, second, 2.0))


def test_the_mean_kernel_of_two_clips_is_over_their_windows() -> None:
    one, two = torch.zeros(2, 1), torch.tensor([[0.0], [2.0], [4.0]])
    expected = (1 + math.exp(-2) + math.exp(-8)) / 3
    assert mean_kernels([one], [two, one], 1.0).tolist() == [pytest.approx([expected, 1.0])]


def test_a_bandwidth_needs_vectors_that_differ() -> None:
    assert median_distance(torch.tensor([[0.0], [1.0], [3.0]])) == 2.0
    for rows in (torch.ones(5, 3), torch.ones(1, 3)):
        with pytest.raises(ValueError, match="expected 2 different embeddings"):
            median_distance(rows)
    with pytest.raises(ValueError, match="expected at least 2 clips on both sides, got 1 and 3"):
        kernel_distance(normal(1), normal(3))
