"""Beats are found in activations: at any tempo, in bars of three and four, and nowhere in noise."""

import numpy as np
import pytest

from musiclm.score.beat_tracking import track_beats

RATE = 100.0


def activations(
    at: np.ndarray, meter: int, seconds: float, *, first: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Peaks [T] two frames wide at beats, and at the first of each bar; `first` is the first beat's place."""
    times = np.arange(round(seconds * RATE)) / RATE
    peaks = np.clip(1 - np.abs(times[:, None] - at) * RATE / 4, 0, 1)  # [T, N]
    downbeats = (np.arange(len(at)) + first) % meter == 0
    return 0.9 * peaks.max(axis=1) + 0.01, 0.8 * (peaks * downbeats).max(axis=1)


@pytest.mark.parametrize(("bpm", "meter"), [(58, 4), (90, 3), (120, 4), (171.3, 3), (210, 4)])
def test_clicks_are_tracked_exactly(bpm: float, meter: int) -> None:
    at = np.arange(0.3, 15.0, 60 / bpm)
    track = track_beats(*activations(at, meter, 15.0, first=1), RATE)
    assert track.meter == meter
    assert len(track.times) == len(at)
    assert np.abs(track.times - at).max() < 0.011  # a frame
    assert track.places.tolist() == [(1 + n) % meter for n in range(len(at))]
    assert track.confidence > 0.6


def test_other_meters_are_told_if_they_may_be() -> None:
    at = np.arange(0.2, 12, 0.4)
    track = track_beats(*activations(at, 2, 12.0), RATE, meters=(2, 3, 4, 6))
    assert track.meter == 2
    assert track.places[:4].tolist() == [0, 1, 0, 1]


def test_a_change_of_tempo_is_followed() -> None:
    steps = np.concatenate([np.full(16, 60 / 100), np.full(16, 60 / 112), np.full(16, 60 / 96)])
    at = 0.5 + np.concatenate([[0.0], np.cumsum(steps)])
    track = track_beats(*activations(at, 4, at[-1] + 0.4), RATE)
    assert len(track.times) == len(at)
    assert np.abs(track.times - at).max() < 0.011
    assert track.places.tolist() == [n % 4 for n in range(len(at))]


def test_a_missing_beat_is_bridged() -> None:
    at = np.arange(0.3, 12, 0.5)
    kept = np.delete(at, [6, 7, 13])
    track = track_beats(*activations(kept, 25, 12.0), RATE)
    assert len(track.times) == len(at)
    assert np.abs(track.times - at).max() < 0.011


def test_shuffled_noise_is_no_music() -> None:
    random = np.random.default_rng(0)
    beat, downbeat = activations(np.arange(0.3, 15.0, 0.5), 4, 15.0)
    order = random.permutation(len(beat))
    shuffled = track_beats(beat[order], downbeat[order], RATE).confidence
    assert shuffled < 0.15
    assert shuffled < track_beats(beat, downbeat, RATE).confidence / 4
    faint = 0.06 * random.random(1500)
    assert track_beats(faint, faint / 4, RATE).confidence < 0.1


def test_nothing_is_found_in_no_time() -> None:
    for length in (0, 1, 20):
        track = track_beats(np.full(length, 0.5), np.full(length, 0.1), RATE)
        assert track.confidence == 0.0
        assert not len(track.times)
