"""The Fréchet distance is what its formula says."""

import numpy as np
import pytest
import torch

from musiclm.metrics.frechet import distance_at_infinity, frechet_distance


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


def test_extrapolation_comes_near_to_the_distance_of_infinitely_many() -> None:
    """Of N(0, I) and N(1, I) in 16 dimensions it is 16; 200 vectors say more."""
    generator = torch.Generator().manual_seed(1)
    clips = torch.randn(200, 16, generator=generator).split(1)
    reference = torch.randn(20_000, 16, generator=generator) + 1
    finite = frechet_distance(torch.cat(clips), reference)
    found = [distance_at_infinity(clips, reference, seed=seed) for seed in range(5)]
    mean = sum(each.distance for each in found) / 5
    # What is left is how far the mean of these 200 lies from 0, which no extrapolation takes away.
    own = torch.cat(clips).mean(dim=0)
    truth = float((own - 1).square().sum())
    assert abs(mean - truth) < 0.5 * abs(finite - truth)
    assert sum(each.r2 for each in found) / 5 > 0.3


def test_extrapolation_of_the_same_distribution_is_near_0() -> None:
    generator = torch.Generator().manual_seed(2)
    clips = torch.randn(400, 8, generator=generator).split(2)  # two windows a clip
    reference = torch.randn(20_000, 8, generator=generator)
    found = [distance_at_infinity(clips, reference, seed=seed).distance for seed in range(8)]
    assert abs(sum(found) / 8) < 0.4 * frechet_distance(torch.cat(clips), reference)


def test_few_clips_are_not_extrapolated_from() -> None:
    with pytest.raises(ValueError, match="expected 8 clips or more to extrapolate from, got 7"):
        distance_at_infinity(normal(7).split(1), normal(20))
