"""Stretches, their copies, and the stratified draw."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musiclm.audit.examples import (
    STRATA,
    Examples,
    count_copies,
    draw,
    identical_recordings,
    never_heard,
    stretches,
    tokens_at,
)
from musiclm.data.store import TokenRow


def row(id: str, semantic: np.ndarray) -> TokenRow:
    streams = {"semantic": semantic.astype(np.uint16)[None]}
    return TokenRow(id, "", len(semantic) / 25, "", "train", [], streams)


def random_rows(*lengths: int, seed: int = 0, ids: int = 1024) -> list[TokenRow]:
    random = np.random.default_rng(seed)
    return [row(f"r{index}", random.integers(0, ids, length)) for index, length in enumerate(lengths)]


def test_stretches_stay_inside_and_apart() -> None:
    rows = random_rows(30, 9, 10)
    found = stretches(rows, rows, length=10, apart=5)
    places = list(zip(found.recordings, found.starts, strict=True))
    assert places == [(0, 0), (0, 5), (0, 10), (0, 15), (0, 20), (2, 0)]
    assert tokens_at(rows, found.recordings, found.starts, 10).shape == (6, 10)
    clear = stretches(rows, rows, length=10, apart=5, clear_of_end=6)
    assert list(zip(clear.recordings, clear.starts, strict=True)) == [(0, 0), (0, 5), (0, 10)]


def test_the_same_stretch_is_asked_for_once_and_weighs_as_often_as_it_comes() -> None:
    rows = random_rows(20, 20)
    rows += [row("again", rows[0].semantic), row("later", np.concatenate([[7], rows[1].semantic]))]
    found = stretches(rows, rows, length=10, apart=10)
    assert found.weights.tolist() == [2, 2, 1, 1, 1, 1]
    assert found.copies.tolist() == [2, 2, 2, 2, 1, 2]  # one token later it is the same music
    assert set(zip(found.recordings[-2:], found.starts[-2:], strict=True)) == {(3, 0), (3, 10)}


def test_a_control_leaves_out_what_stands_in_training() -> None:
    training, others = random_rows(40, 40), random_rows(20, seed=1)
    leaked = [row("leaked", training[1].semantic[7:27]), *others]
    every = stretches(leaked, training, length=10, apart=10)
    found = never_heard(every, leaked, training, offsets=(0,), length=10)
    assert set(found.recordings) == {1}
    assert found.strata().tolist() == [0, 0]


def test_a_control_leaves_out_what_goes_on_as_training_does() -> None:
    """Its beginning is new, what is asked for after three tokens is not."""
    training, (other,) = random_rows(40, 40), random_rows(20, seed=1)
    semantic = other.semantic.copy()
    semantic[13:20] = training[0].semantic[5:12]
    mixed = [row("mixed", semantic)]
    every = stretches(mixed, training, length=10, apart=10)
    assert every.copies.tolist() == [0, 0]
    found = never_heard(every, mixed, training, offsets=(0, 3), length=7)
    assert found.starts.tolist() == [0]


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(2, 8))
def test_copies_are_all_places_that_hold_the_same_tokens(seed: int, ids: int, length: int) -> None:
    rows = [row.semantic for row in random_rows(30, 17, 5, seed=seed, ids=ids + 1)]
    windows = [tuple(row[start : start + length]) for row in rows for start in range(len(row) - length + 1)]
    asked = windows[::3]
    found = count_copies(rows, np.array(asked, dtype=np.int64))
    assert found.tolist() == [windows.count(tokens) for tokens in asked]


def test_identical_recordings_are_found_whatever_their_names() -> None:
    rows = random_rows(20, 20, 20)
    copies = [row("again", rows[1].semantic), row("and again", rows[1].semantic)]
    assert identical_recordings([*rows, *copies]) == [["r1", "again", "and again"]]


def population(copies: np.ndarray) -> Examples:
    count = len(copies)
    return Examples(np.arange(count), np.zeros(count, dtype=np.int64), copies, np.ones(count))


def test_the_draw_fills_small_strata_and_weighs_them_back() -> None:
    of = population(np.array([1] * 90 + [4] * 6 + [20] * 4))
    chosen = draw(of, count=30, seed=0)
    assert len(set(chosen.recordings)) == len(chosen) == 30
    assert np.bincount(chosen.strata(), minlength=len(STRATA)).tolist() == [20, 0, 6, 4]
    assert chosen.weights.sum() == pytest.approx(100)
    assert len(set(chosen.strata()[:15])) > 1  # the first few are of every stratum
    assert np.array_equal(chosen.recordings, draw(of, count=30, seed=0).recordings)


def test_a_draw_of_more_than_there_is_takes_everything() -> None:
    chosen = draw(population(np.ones(5, dtype=np.int64)), count=99, seed=0)
    assert sorted(chosen.recordings) == [0, 1, 2, 3, 4]
    assert chosen.weights.tolist() == [1.0] * 5
    assert len(draw(population(np.zeros(0, dtype=np.int64)), count=3, seed=0)) == 0
