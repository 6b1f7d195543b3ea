"""Axes have round marks."""

import pytest

from musiclm.plots import ticks


@pytest.mark.parametrize("high", [0.0043, 0.1, 1.0, 7.3, 12.0, 4_000.0])
def test_ticks_are_few_and_inside(high: float) -> None:
    values = ticks(high)
    assert 3 <= len(values) <= 6
    assert values[0] == 0
    assert values[-1] <= high * 1.001
