"""Loudness is the standard's; what stays has no drift, and what moves has as much as it moves."""

import math

import pytest
import torch

from musiclm.metrics.drift import key_drift, loudness, loudness_drift

RATE = 22_050
FRAMES = 43.0


def tone(seconds: float, pitch: float = 997.0) -> torch.Tensor:
    return torch.sin(2 * math.pi * pitch * torch.arange(round(seconds * RATE)) / RATE)


def test_the_loudness_is_that_of_the_standard() -> None:
    """BS.1770-4: a full-scale sine of 997 Hz on one channel reads -3.01 LUFS."""
    assert loudness(tone(2.0), RATE) == pytest.approx(-3.01, abs=0.1)
    assert loudness(0.1 * tone(2.0), RATE) == pytest.approx(-23.01, abs=0.1)


def test_a_bass_is_heard_less_and_treble_more() -> None:
    """BS.1770-4's curve: about -14 dB at 20 Hz, 0.7 dB at 1 kHz, 4 dB at 4 kHz and above."""
    at = [loudness(tone(2.0, pitch), RATE) for pitch in (20.0, 997.0, 6000.0)]
    assert at[0] == pytest.approx(at[1] - 14, abs=1.5)
    assert at[2] == pytest.approx(at[1] + 3.3, abs=0.2)


def test_loudness_drifts_as_it_fades() -> None:
    time = torch.arange(60 * RATE) / RATE
    faded = tone(60.0) * 10 ** (-9.0 * time / 60 / 20)  # 9 dB in a minute
    assert loudness_drift(faded, RATE) == pytest.approx(9.0, abs=0.1)
    assert loudness_drift(0.1 * tone(60.0), RATE) == pytest.approx(0.0, abs=0.01)


def test_less_than_two_stretches_have_no_drift() -> None:
    assert math.isnan(loudness_drift(tone(19.0), RATE))
    assert math.isnan(key_drift(torch.rand(12, round(19 * FRAMES)), FRAMES))


def scale(*classes: int) -> torch.Tensor:
    held = torch.zeros(12, round(10 * FRAMES))
    held[list(classes)] = 1.0
    return held


def test_a_key_drifts_to_another_one() -> None:
    c_major, f_sharp = (0, 2, 4, 5, 7, 9, 11), (6, 8, 10, 11, 1, 3, 5)
    others = tuple(set(range(12)) - set(c_major))
    near = (0, 2, 4, 6, 7, 9, 11)  # G major: six of seven in common
    assert key_drift(torch.cat([scale(*c_major)] * 3, dim=1), FRAMES) == pytest.approx(0.0, abs=1e-6)
    assert key_drift(torch.cat([scale(*c_major), scale(*others)], dim=1), FRAMES) == pytest.approx(1.0)
    drifts = [
        key_drift(torch.cat([scale(*c_major), scale(*other)], dim=1), FRAMES) for other in (near, f_sharp)
    ]
    assert drifts[0] < 0.25 < 0.75 < drifts[1]


def test_the_first_minute_counts() -> None:
    held = torch.cat([scale(0, 4, 7)] * 6 + [scale(1, 5, 8)], dim=1)
    assert key_drift(held, FRAMES) == pytest.approx(0.0, abs=1e-6)
