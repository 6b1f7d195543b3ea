"""Wins are counted, and what is more than chance is told from what is not."""

import pytest

from musiclm.metrics.preferences import compare


def test_answers_are_counted_by_whom_they_prefer() -> None:
    found = compare([[2, 1, 0], [-1], [0]])
    assert (found.wins, found.losses, found.ties, found.items) == (2, 1, 2, 3)


def test_p_is_that_of_the_signed_rank_test() -> None:
    """All of six different differences on one side: 2 of 2^6 signs are as extreme."""
    assert compare([[1.0], [1.1], [1.2], [1.3], [1.4], [1.5]]).p == pytest.approx(2 / 64)


def test_bonferroni_multiplies_and_stops_at_1() -> None:
    scores = [[1.0], [1.1], [1.2], [1.3], [1.4], [1.5]]
    assert compare(scores, tests=6).p == pytest.approx(6 * 2 / 64)
    assert compare(scores, tests=100).p == 1.0


def test_no_difference_is_no_finding() -> None:
    assert compare([[0], [0]]).p == 1.0
    assert compare([[2, -2], [1, -1]]).p == 1.0
    assert compare([]).p == 1.0
    assert compare([[1], [-1]] * 10).p > 0.5


def test_many_listeners_of_one_item_are_no_more_sure_than_one() -> None:
    assert compare([[2] * 50]).p == compare([[2]]).p == 1.0
