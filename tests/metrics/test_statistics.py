"""Intervals and bounds on known values."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from musiclm.metrics.statistics import clopper_pearson_upper, estimate, wilson


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
