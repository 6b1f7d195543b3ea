"""The F-measure of beats, against cases that are counted by hand as mir_eval counts them."""

import numpy as np
import pytest

from musiclm.metrics.beats import f_measure, matches


def test_the_same_beats_are_all_found() -> None:
    beats = np.arange(1, 10) * 0.5
    assert f_measure(beats, beats) == 1.0
    assert f_measure(beats + 0.06, beats) == 1.0
    assert f_measure(beats + 0.08, beats) == 0.0


def test_twice_the_tempo_finds_all_and_half_of_it_is_wrong() -> None:
    beats = np.arange(10) * 0.5
    double = np.arange(20) * 0.25
    assert f_measure(double, beats) == pytest.approx(2 * 10 / 30)
    assert f_measure(beats, double) == pytest.approx(2 * 10 / 30)


def test_a_beat_is_matched_once() -> None:
    assert matches(np.array([0.98, 1.0, 1.02]), np.array([1.0])) == 1
    # Two may share a window: each of them finds its own.
    assert matches(np.array([0.95, 1.04]), np.array([1.0, 1.1])) == 2
    assert matches(np.array([1.0, 1.03]), np.array([0.94, 1.01])) == 2


def test_most_are_matched_as_by_a_search_of_all_pairings() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        heard, true = (np.sort(random.uniform(0, 0.5, random.integers(1, 6))) for _ in range(2))
        assert matches(heard, true) == _most(heard.tolist(), true.tolist())


def _most(heard: list[float], true: list[float]) -> int:
    if not heard:
        return 0
    fits = [n for n, at in enumerate(true) if abs(at - heard[0]) <= 0.07]
    rest = [1 + _most(heard[1:], true[:n] + true[n + 1 :]) for n in fits]
    return max(_most(heard[1:], true), *rest) if rest else _most(heard[1:], true)


def test_nothing_heard_is_worth_nothing() -> None:
    assert f_measure(np.array([]), np.array([1.0])) == 0.0
    assert f_measure(np.array([1.0]), np.array([])) == 0.0
