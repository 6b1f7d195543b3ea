"""Onsets and pulses order what they should."""

import torch

from musiclm.metrics.rhythm import onset_strength, pulse_rate

RATE = 24_000


def clicks(beats_per_minute: float, *, seconds: float = 8.0, level: float = 0.5) -> torch.Tensor:
    """Bursts of noise on every beat over a soft tone."""
    time = torch.arange(round(seconds * RATE)) / RATE
    waveform = 0.1 * torch.sin(2 * torch.pi * 220 * time)
    period = 60.0 / beats_per_minute
    envelope = torch.exp(-(time % period) * 60)
    return (waveform + level * envelope * torch.randn(len(time)) * 0.3).clamp(-1, 1)


def test_drums_raise_the_onset_strength() -> None:
    assert onset_strength(clicks(120), RATE) > 2 * onset_strength(clicks(120, level=0.0), RATE)


def test_the_pulse_rate_follows_the_beat() -> None:
    rates = [pulse_rate(clicks(bpm), RATE) for bpm in (60, 75, 100, 150)]
    assert rates == sorted(rates)
    assert rates[3] > 1.1 * rates[0]
