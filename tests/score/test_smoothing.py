"""States change where it pays, and not for a moment's doubt."""

import numpy as np

from musiclm.score.smoothing import runs, steady


def test_a_change_has_to_be_worth_its_price() -> None:
    favours = np.array([0] * 10 + [1] * 2 + [0] * 10 + [2] * 10)
    log_probabilities = np.where(np.arange(3)[:, None] == favours, -0.1, -2.0)
    assert runs(steady(log_probabilities, 3.0)) == [(0, 22), (22, 32)]
    assert (steady(log_probabilities, 0.1) == favours).all()


def test_changes_come_where_they_are_cheap() -> None:
    falls = np.array([0.9] * 5 + [0.5] * 4 + [0.1] * 5)
    log_probabilities = np.log(np.stack([falls, 1 - falls]))
    for cheap in (5, 7, 9):
        penalty = np.full(14, 4.0)
        penalty[cheap] = 1.0
        assert runs(steady(log_probabilities, penalty)) == [(0, cheap), (cheap, 14)]


def test_no_time_has_no_states() -> None:
    assert not len(steady(np.zeros((3, 0)), 1.0))
    assert runs(np.empty(0, int)) == []
