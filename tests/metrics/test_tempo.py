"""Tempo: a tempogram has its peaks where onsets repeat, and moves with the pace; octaves are told apart."""

import math

import pytest
import torch

from musiclm.metrics.tempo import BANDS, ONSET_BANDS, PERIODS, STEPS, judge, tempo_class, tempogram
from tests.metrics.test_pulse import RATE, clicks


@pytest.mark.parametrize("bpm", [66.0, 100.0, 150.0])
def test_onsets_repeat_after_a_beat(bpm: float) -> None:
    found = tempogram(clicks(bpm), RATE)
    assert found.shape == (BANDS, len(PERIODS))
    beat = abs(PERIODS - 60 / bpm).argmin()
    near = found[:ONSET_BANDS, beat - 1 : beat + 2].amax(dim=1)
    between = found[
        :ONSET_BANDS, beat - STEPS // 3
    ]  # a period that is no multiple of the beat's, nor a part of it
    assert (near > 0.5).all()
    assert (between < 0.2).all()


def test_music_played_twice_as_fast_has_the_same_tempogram_an_octave_off() -> None:
    slow, fast = (tempogram(clicks(bpm, 20.0), RATE)[:ONSET_BANDS].mean(dim=0) for bpm in (70, 140))
    moved = torch.stack([slow[STEPS:], fast[:-STEPS]])[:, STEPS:]  # where a period is many moments
    still = torch.stack([slow, fast])[:, 2 * STEPS :]
    assert torch.corrcoef(moved)[0, 1] > 0.8
    assert torch.corrcoef(still)[0, 1] < 0.8


def test_silence_and_what_is_too_short() -> None:
    assert (tempogram(torch.zeros(10 * RATE), RATE) == 0).all()
    with pytest.raises(ValueError, match=r"expected more than 4 s of music, got 3\.0 s"):
        tempogram(torch.zeros(3 * RATE), RATE)


@pytest.mark.parametrize(
    ("heard", "true", "verdict"),
    [
        (100, 100, "right"),
        (103.9, 100, "right"),
        (104.1, 100, "wrong"),
        (200, 100, "octave"),
        (51, 100, "octave"),
        (150, 100, "octave"),
        (67, 100, "octave"),
        (125, 100, "wrong"),
        (math.nan, 100, "wrong"),
    ],
)
def test_a_tempo_is_right_an_octave_off_or_wrong(heard: float, true: float, verdict: str) -> None:
    assert judge(heard, true) == verdict


def test_the_classes_of_tempi_are_those_of_the_captions_words() -> None:
    from musiclm.evaluate.joint import TEMPI

    for name, (slowest, fastest) in TEMPI.items():
        assert {tempo_class(slowest), tempo_class(fastest)} == {name}
    assert tempo_class(math.nan) == ""
