"""A loop repeats itself, and music that goes on does not."""

import math

import pytest
import torch

from musiclm.metrics.repetition import repetition
from tests.tiny import melody

RATE = 24_000


def test_a_loop_repeats_itself() -> None:
    bar = melody(2.0, seed=0).waveform[0]
    assert repetition(bar.repeat(5), RATE) > 0.98


def test_a_tune_that_goes_on_does_not() -> None:
    assert repetition(melody(10.0, seed=0).waveform[0], RATE) < 0.6


def test_half_a_loop_is_between() -> None:
    bar, rest = melody(2.5, seed=0).waveform[0], melody(5.0, seed=1).waveform[0]
    whole = repetition(bar.repeat(4), RATE)
    half = repetition(torch.cat([bar, bar, rest]), RATE)
    none = repetition(melody(10.0, seed=2).waveform[0], RATE)
    assert none + 0.1 < half < whole - 0.2


def test_a_quieter_return_is_a_return() -> None:
    bar = melody(2.0, seed=0).waveform[0]
    assert repetition(torch.cat([bar, 0.5 * bar, bar, 0.5 * bar]), RATE) > 0.8


def test_noise_never_returns_and_a_steady_tone_always_does() -> None:
    noise = 0.1 * torch.randn(10 * RATE, generator=torch.Generator().manual_seed(0))
    assert repetition(noise, RATE) < 0.2
    time = torch.arange(10 * RATE) / RATE
    assert repetition(0.3 * torch.sin(2 * math.pi * 440 * time), RATE) == 1.0


@pytest.mark.parametrize("seconds", [0.3, 1.5])
def test_what_is_too_short_to_return(seconds: float) -> None:
    assert math.isnan(repetition(melody(seconds, seed=0).waveform[0], RATE))
