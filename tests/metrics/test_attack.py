"""A beginning is as sharp as its level rises."""

import math

import pytest
import torch

from musiclm.metrics.attack import attack_sharpness

RATE = 22_050


def notes(rise: float, *, seconds: float = 4.0) -> torch.Tensor:
    """A note every half second, whose level rises by `rise` dB per 10 ms from 50 dB below, then stays."""
    time = torch.arange(round(seconds * RATE)) / RATE
    since = time % 0.5
    level = (-50 + rise * (since - 0.1) / 0.01).clamp(-50, 0) - 200 * (since - 0.4).clamp(min=0)
    return 0.5 * torch.sin(2 * math.pi * 1000 * time) * 10 ** (level / 20)


@pytest.mark.parametrize("rise", [5.0, 10.0, 20.0])
def test_the_sharpness_is_the_rise_of_the_level(rise: float) -> None:
    assert attack_sharpness(notes(rise), RATE) == pytest.approx(rise, rel=0.1)


def test_a_bass_does_not_hide_what_is_struck_above_it() -> None:
    bass = 0.3 * torch.sin(2 * math.pi * 55 * torch.arange(4 * RATE) / RATE)
    assert attack_sharpness(notes(15.0) + bass, RATE) > 8


def test_where_nothing_begins_nothing_is_sharp() -> None:
    assert math.isnan(attack_sharpness(torch.zeros(2 * RATE), RATE))
