"""The Fréchet distance is what its formula says."""

import numpy as np
import pytest
import torch

from musiclm.metrics.frechet import frechet_distance


def normal(count: int, shift: float = 0.0) -> torch.Tensor:
    return torch.randn(count, 4, generator=torch.Generator().manual_seed(0)) + shift


def test_a_set_is_at_no_distance_from_itself() -> None:
    assert frechet_distance(normal(100), normal(100)) == pytest.approx(0, abs=1e-6)


def test_a_shift_counts_squared_in_every_dimension() -> None:
    assert frechet_distance(normal(100), normal(100, shift=3.0)) == pytest.approx(4 * 3.0**2)


def test_a_spread_counts_by_the_difference_of_deviations() -> None:
    """Of commuting covariances, tr(C1 + C2 - 2 sqrt(C1 C2)) is the squared distance of their roots."""
    points = normal(100) - normal(100).mean(dim=0)
    trace = float(torch.cov(points.double().T).trace())
    assert frechet_distance(points, 3 * points) == pytest.approx((3 - 1) ** 2 * trace)


def test_it_is_symmetric_and_agrees_with_scipy() -> None:
    linalg = pytest.importorskip("scipy.linalg")
    one, two = normal(50), normal(60).cumsum(dim=1)
    covariances = [np.cov(points.numpy().T) for points in (one, two)]
    root = linalg.sqrtm(covariances[0] @ covariances[1]).real
    difference = (one.mean(dim=0) - two.mean(dim=0)).square().sum().item()
    expected = difference + np.trace(covariances[0] + covariances[1] - 2 * root)
    assert frechet_distance(one, two) == pytest.approx(expected, rel=1e-4)
    assert frechet_distance(two, one) == pytest.approx(frechet_distance(one, two), rel=1e-6)


def test_fewer_than_two_windows_are_refused() -> None:
    with pytest.raises(ValueError, match="expected at least 2 windows of music on both sides, got 1 and 9"):
        frechet_distance(normal(1), normal(9))
