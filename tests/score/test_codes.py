"""A score comes back from its codes: what it says at every moment, to a frame of 40 ms."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musiclm.score.codes import RATE, STREAMS, codes_of, score_of
from musiclm.score.labels import score_of_labels
from musiclm.score.plan import Plan
from musiclm.score.score import Beat, Chord, From, Key, Score, steady_beats, what_at
from musiclm.stages.layout import ABSENT
from tests.score.drawn import PLANS


@given(PLANS, st.floats(0, 2), st.floats(1, 12))
@settings(max_examples=60, deadline=None)
def test_a_score_comes_back_from_its_codes(plan: Plan, first: float, seconds: float) -> None:
    score = plan.score(seconds, first=first)
    codes = codes_of(score)
    frames = codes["beat"].shape[1]
    assert {name: tuple(each.shape) for name, each in codes.items()} == {
        stream.name: (stream.levels, frames) for stream in STREAMS
    }
    for stream in STREAMS:
        assert -1 <= int(codes[stream.name].min()) <= int(codes[stream.name].max()) < stream.size
    back = score_of(codes)

    expected = [beat for beat in score.beats if 0 <= beat.at < seconds - 0.04]
    found = [beat for beat in back.beats if beat.at < seconds - 0.06]
    for beat in expected:
        near = min(back.beats, key=lambda other: abs(other.at - beat.at))
        assert abs(near.at - beat.at) <= 0.5 / RATE + 1e-6
        assert (near.place, near.meter) == (beat.place, beat.meter)
    assert len(found) <= len(expected) + 1
    for frame in range(frames):
        moment = (frame + 0.5) / RATE
        for part in ("keys", "chords", "drums"):
            assert what_at(getattr(back, part), moment) == what_at(getattr(score, part), moment)


def test_nothing_is_said_where_nothing_is_known() -> None:
    codes = codes_of(Score(1.0))
    assert all(bool((each == ABSENT).all()) for each in codes.values())
    assert score_of(codes).known == ()
    assert score_of({}) == Score(0.0)
    assert {name: each.shape[1] for name, each in codes_of(Score(0.0)).items()} == dict.fromkeys(codes, 0)
    late = codes_of(Score(1.0, keys=(From(0.5, Key(0, "major")),), chords=(From(0.0, None),)))
    assert late["key"][0].tolist() == [ABSENT] * 12 + [0] * 13
    assert score_of(late).keys == (From(0.48, Key(0, "major")),)


def test_time_runs_between_beats_and_not_before_or_after_them() -> None:
    beats = (Beat(0.2, 0, 2), Beat(0.7, 1, 2), Beat(1.2, 0, 2))
    step, place, meter = codes_of(Score(2.0, beats))["beat"].tolist()
    known = [frame for frame, each in enumerate(step) if each != ABSENT]
    assert known == list(range(5, 30))
    assert set(meter[5:30]) == {1}
    assert place[5:30] == [0] * 12 + [1] * 13
    for before, after in pairwise(step[5:30]):
        assert after > before or after == 0


def test_a_gap_between_beats_is_no_beat() -> None:
    codes = codes_of(Score(12.0, (*steady_beats(1.0, 120.0, 4), Beat(10.0, 0, 4), Beat(10.5, 1, 4))))
    assert not bool((codes["beat"][:, 60:240] >= 0).any())


def test_a_beat_that_is_heard_from_its_middle_on_is_left_out() -> None:
    score = Score(3.0, steady_beats(3.0, 60.0, 4)).later(-0.6)
    assert [beat.place for beat in score_of(codes_of(score)).beats] == [1, 2, 3]


def test_some_streams_alone_are_a_score_too() -> None:
    codes = {"drums": torch.ones(1, 25, dtype=torch.int64)}
    assert score_of(codes) == Score(1.0, drums=(From(0.0, True),))


LABELS = {
    "tempo": 120.0, "beats_per_bar": 3, "tonic": 9, "mode": "minor", "drums": True,
    "chords": [{"start": 0.0, "root": 9, "quality": "minor"},
               {"start": 1.5, "root": 4, "quality": "dominant7"}],
}  # fmt: skip


def test_labels_are_a_score() -> None:
    score = score_of_labels(LABELS, 3.0)
    assert score.beats[:4] == (Beat(0.0, 0, 3), Beat(0.5, 1, 3), Beat(1.0, 2, 3), Beat(1.5, 0, 3))
    assert score.beats[-1].at >= 3.0
    assert score.keys == (From(0.0, Key(9, "minor")),)
    assert score.drums == (From(0.0, True),)
    assert score.chords == (From(0.0, Chord(9, "minor")), From(1.5, Chord(4, "dominant7")))
    assert score_of_labels({}, 3.0) == Score(3.0)
    assert score_of_labels(dict.fromkeys(LABELS), 3.0) == Score(3.0)
    assert score_of_labels(LABELS | {"tempo": None}, 3.0).known == ("keys", "chords", "drums")


@pytest.mark.parametrize(
    "wrong",
    [
        {"tempo": 0}, {"tempo": -90}, {"tempo": float("nan")}, {"tempo": 1e12}, {"tempo": []},
        {"beats_per_bar": 0},
        {"beats_per_bar": 99}, {"beats_per_bar": float("inf")}, {"tonic": 12}, {"mode": "dorian"},
        {"chords": ["Am"]},
        {"chords": [{}]}, {"chords": 3},
    ],
)  # fmt: skip
def test_labels_that_cannot_be_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        score_of_labels(LABELS | wrong, 3.0)
