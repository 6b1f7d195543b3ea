"""Music in tune with itself is told from what is not, whatever its concert pitch."""

import math

import pytest
import torch

from musiclm.metrics.tuning import on_one_grid

RATE = 22_050
MAJOR = (0, 4, 7, 12)


def chord(steps: tuple[float, ...], *, pitch: float = 220.0, seconds: float = 1.0) -> torch.Tensor:
    time = torch.arange(round(seconds * RATE)) / RATE
    return sum((0.1 * torch.sin(2 * math.pi * pitch * 2 ** (step / 12) * time) for step in steps), time * 0)


@pytest.mark.parametrize("pitch", [220.0, 216.0, 226.4])  # also 32 cents flat, and a quarter-tone sharp
def test_a_chord_shares_a_grid_whatever_its_pitch(pitch: float) -> None:
    assert on_one_grid(chord(MAJOR, pitch=pitch), RATE) > 0.95


def test_two_chords_a_quarter_tone_apart_share_none() -> None:
    apart = torch.cat([chord(MAJOR), chord(MAJOR, pitch=220.0 * 2 ** (0.5 / 12))])
    assert on_one_grid(apart, RATE) < 0.2


def test_detuning_lowers_it_by_the_mean_resultant() -> None:
    """Of two equal tones that are `d` semitones off a step apart it is |cos(pi d)|."""
    for detuned in (0.1, 0.25, 0.4):
        found = on_one_grid(chord((0, 12 + detuned)), RATE)
        assert found == pytest.approx(math.cos(math.pi * detuned), abs=0.1)


def test_what_has_no_partial_has_no_grid() -> None:
    assert math.isnan(on_one_grid(torch.zeros(RATE), RATE))
    assert math.isnan(on_one_grid(torch.zeros(100), RATE))
    noise = torch.randn(4 * RATE, generator=torch.Generator().manual_seed(0)) * 0.1
    assert on_one_grid(noise, RATE) < 0.2
