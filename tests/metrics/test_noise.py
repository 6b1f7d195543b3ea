"""Tones stand above noise by what they are above it; drums are no noise."""

import math

import pytest
import torch

from musiclm.metrics.noise import harmonic_to_noise

RATE = 22_050
TIME = torch.arange(3 * RATE) / RATE
TONES = sum((0.1 * torch.sin(2 * math.pi * pitch * TIME) for pitch in (220.0, 277.2, 329.6)), TIME * 0)


def noise(level: float) -> torch.Tensor:
    return level * torch.randn(len(TIME), generator=torch.Generator().manual_seed(0))


def test_tones_are_harmonic_and_noise_is_not() -> None:
    assert harmonic_to_noise(TONES, RATE) > 15
    assert harmonic_to_noise(noise(0.1), RATE) < -5


def test_it_is_the_ratio_of_the_powers() -> None:
    """Up to the share of the noise that is taken for tones and strokes, a few dB."""
    for level in (0.05, 0.017):
        truth = 10 * math.log10(float(TONES.square().mean()) / level**2)
        assert harmonic_to_noise(TONES + noise(level), RATE) == pytest.approx(truth, abs=3.5)


def test_strokes_are_no_noise() -> None:
    """The same noise as strokes instead of all the time leaves more of the ratio."""
    strokes = noise(0.3) * torch.exp(-(TIME % 0.5) * 100)
    steady = noise(float(strokes.square().mean().sqrt()))
    assert harmonic_to_noise(TONES + strokes, RATE) > harmonic_to_noise(TONES + steady, RATE) + 2


def test_silence_has_no_ratio() -> None:
    assert math.isnan(harmonic_to_noise(torch.zeros(RATE), RATE))
    assert math.isnan(harmonic_to_noise(torch.zeros(64), RATE))
