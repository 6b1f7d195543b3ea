"""Intervals and bounds on known values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musiclm.metrics.statistics import (
    bootstrap_interval,
    clopper_pearson_upper,
    difference_interval,
    estimate,
    wilson,
)


def test_wilson_gives_the_published_interval() -> None:
    # Newcombe (1998), table I: 81 of 263 and 0 of 20.
    assert wilson(81 / 263, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)
    assert wilson(0.0, 20) == pytest.approx((0.0, 0.1611), abs=1e-4)


def test_no_error_among_n_gives_the_rule_of_three() -> None:
    assert clopper_pearson_upper(0, 100_000) == pytest.approx(2.9957e-5, rel=1e-3)
    assert clopper_pearson_upper(4, 100_000) < 1e-4 < clopper_pearson_upper(5, 100_000)
    assert clopper_pearson_upper(3, 3) == 1.0


@given(st.integers(1, 500), st.data())
def test_the_rate_lies_in_its_interval(examples: int, data: st.DataObject) -> None:
    count = data.draw(st.integers(0, examples))
    found = estimate(np.arange(examples) < count)
    assert (found.count, found.examples) == (count, examples)
    assert 0 <= found.low <= found.rate <= found.high <= 1


def test_weights_undo_an_uneven_sample() -> None:
    # Ten of a rare kind that stand for 10, ten of a common one that stand for 90.
    true = np.arange(20) < 10
    found = estimate(true, np.where(true, 1.0, 9.0))
    assert found.rate == pytest.approx(0.1)
    even = estimate(true)
    assert found.high - found.low > 0.6 * (even.high - even.low)  # it is worth fewer examples


def test_no_examples_are_no_finding() -> None:
    found = estimate(np.zeros(0, dtype=bool))
    assert (found.count, found.examples, found.rate, found.low, found.high) == (0, 0, 0.0, 0.0, 0.0)


def test_a_bootstrap_interval_is_that_of_the_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(3.0, 2.0, 400)
    low, high = bootstrap_interval(values)
    half = 1.96 * values.std() / 20
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert bootstrap_interval(values) == (low, high)  # of a seed
    assert bootstrap_interval(values, seed=1) != (low, high)


def test_the_interval_of_a_difference_is_that_of_the_normal_distribution() -> None:
    random = np.random.default_rng(0)
    first, second = random.normal(3.0, 2.0, 400), random.normal(1.0, 1.0, 100)
    low, high = difference_interval(first, second)
    half = 1.96 * (first.var() / 400 + second.var() / 100) ** 0.5
    assert low == pytest.approx(first.mean() - second.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(first.mean() - second.mean() + half, abs=0.1 * half)
    for broken in (np.zeros(0), np.array([np.nan])):
        with pytest.raises(ValueError, match="expected finite values of both"):
            difference_interval(first, broken)


def test_a_bootstrap_interval_of_another_statistic_and_confidence() -> None:
    values = np.arange(101.0)
    low, high = bootstrap_interval(values, np.median)
    assert low < 50 < high
    narrow = bootstrap_interval(values, np.median, 0.5)
    assert low < narrow[0] < 50 < narrow[1] < high


def test_what_belongs_together_is_drawn_together() -> None:
    apart = np.random.default_rng(1).normal(size=64)
    together = np.repeat(apart[:, None], 9, axis=1)  # [64, 9]: nine of a row say no more than one
    assert bootstrap_interval(together) == pytest.approx(bootstrap_interval(apart))
    low, high = bootstrap_interval(together)
    pooled_low, pooled_high = bootstrap_interval(together.ravel())
    assert pooled_high - pooled_low < 0.5 * (high - low)


@pytest.mark.parametrize("values", [np.zeros(0), np.array([1.0, np.nan]), np.array([np.inf])])
def test_no_interval_of_nothing(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="expected one finite value or more"):
        bootstrap_interval(values)
