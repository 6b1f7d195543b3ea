"""Stretches, their copies, and the stratified draw."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musiclm.audit.examples import (
    STRATA,
    count_copies,
    draw,
    identical_recordings,
    stretches,
    tokens_at,
)
from musiclm.data.store import TokenRow


def row(id: str, semantic: np.ndarray) -> TokenRow:
    empty = np.zeros((1, 4), dtype=np.float16)
    return TokenRow(id, "", len(semantic) / 25, "", "train", [], semantic.astype(np.uint16), empty, empty)


def random_rows(*lengths: int, seed: int = 0, ids: int = 1024) -> list[TokenRow]:
    random = np.random.default_rng(seed)
    return [row(f"r{index}", random.integers(0, ids, length)) for index, length in enumerate(lengths)]


def test_stretches_stay_inside_and_apart() -> None:
    rows = random_rows(30, 9, 10)
    recordings, starts = stretches(rows, length=10, apart=5)
    assert list(zip(recordings, starts, strict=True)) == [(0, 0), (0, 5), (0, 10), (0, 15), (0, 20), (2, 0)]
    assert tokens_at(rows, recordings, starts, 10).shape == (6, 10)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(2, 8))
def test_copies_are_all_places_that_hold_the_same_tokens(seed: int, ids: int, length: int) -> None:
    rows = random_rows(30, 17, 5, seed=seed, ids=ids + 1)
    recordings, starts = stretches(rows, length=length, apart=3)
    found = count_copies(rows, rows, recordings, starts, length)
    windows = [
        tuple(row.semantic[start : start + length])
        for row in rows
        for start in range(len(row.semantic) - length + 1)
    ]
    own = [tuple(rows[r].semantic[s : s + length]) for r, s in zip(recordings, starts, strict=True)]
    assert found.tolist() == [windows.count(tokens) for tokens in own]


def test_identical_recordings_are_found_whatever_their_names() -> None:
    rows = random_rows(20, 20, 20)
    copies = [row("again", rows[1].semantic), row("and again", rows[1].semantic)]
    assert identical_recordings([*rows, *copies]) == [["r1", "again", "and again"]]


def test_the_draw_fills_small_strata_and_weighs_them_back() -> None:
    copies = np.array([1] * 90 + [4] * 6 + [20] * 4)
    recordings, starts = np.arange(100), np.zeros(100, dtype=np.int64)
    chosen = draw(recordings, starts, copies, count=30, seed=0)
    assert len(chosen) == 30
    assert len(set(chosen.recordings)) == 30
    assert np.bincount(chosen.strata(), minlength=len(STRATA)).tolist() == [20, 0, 6, 4]
    assert chosen.weights.sum() == pytest.approx(100)
    again = draw(recordings, starts, copies, count=30, seed=0)
    assert np.array_equal(chosen.recordings, again.recordings)


def test_a_draw_of_more_than_there_is_takes_everything() -> None:
    chosen = draw(np.arange(5), np.zeros(5, dtype=np.int64), np.ones(5, dtype=np.int64), count=99, seed=0)
    assert sorted(chosen.recordings) == [0, 1, 2, 3, 4]
    assert chosen.weights.tolist() == [1.0] * 5
    nothing = np.zeros(0, dtype=np.int64)
    assert len(draw(nothing, nothing, nothing, count=3, seed=0)) == 0
