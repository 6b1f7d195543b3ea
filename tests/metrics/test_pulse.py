"""Pulse: near 1 for clicks at any pace of a beat, near 0 where there is none."""

import pytest
import torch

from musiclm.metrics.pulse import pulse

RATE = 24_000


def clicks(bpm: float, seconds: float = 10.0, *, late: float = 0.0) -> torch.Tensor:
    """Short bursts of noise, each up to `late` seconds off its time."""
    sound = torch.zeros(round(seconds * RATE))
    burst = torch.randn(240) * torch.linspace(1, 0, 240)
    for number in range(int(seconds * bpm / 60)):
        start = round((number * 60 / bpm + late * torch.rand(()).item()) * RATE)
        stretch = sound[start : start + 240]
        stretch += burst[: len(stretch)]
    return sound


@pytest.mark.parametrize("bpm", [60, 61, 97.3, 120, 180, 239])
def test_clicks_have_a_pulse_at_every_tempo_of_a_beat(bpm: float) -> None:
    assert pulse(clicks(bpm), RATE) > 0.8


def test_a_click_track_is_as_near_to_1_as_its_overlap() -> None:
    # Of 10 s, 9.5 s or 9 s overlap after a beat, less what clicks between two values of the envelope lose.
    assert pulse(clicks(120), RATE) == pytest.approx(0.95, abs=0.04)
    assert pulse(clicks(60), RATE) == pytest.approx(0.87, abs=0.05)


def test_what_has_no_beat_has_no_pulse() -> None:
    time = torch.arange(10 * RATE) / RATE
    chord = sum(torch.sin(2 * torch.pi * hertz * time) for hertz in (220, 277, 330)) / 10
    assert pulse(0.1 * torch.randn(10 * RATE), RATE) < 0.2
    assert pulse(chord, RATE) < 0.4
    assert pulse(torch.zeros(10 * RATE), RATE) == 0.0
    assert pulse(clicks(120, 1.5), RATE) == 0.0  # too short to say


def test_the_looser_the_players_the_weaker_the_pulse() -> None:
    tight, loose, free = (pulse(clicks(100, late=late), RATE) for late in (0.0, 0.05, 0.5))
    assert tight > loose > free
    assert free < 0.5 * tight


def test_a_pulse_does_not_depend_on_loudness() -> None:
    sound = clicks(110)
    assert pulse(0.2 * sound, RATE) == pytest.approx(pulse(sound, RATE), abs=0.05)
