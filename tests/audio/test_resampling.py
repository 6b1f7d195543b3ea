"""Resampling: pitch and level stay, nothing folds back, and no ratio takes more memory than another."""

import math
import tracemalloc

import pytest
import torch

from musiclm.audio import Audio

RATES = [44_100, 48_000, 22_050, 16_000, 8_000, 44_101, 96_000, 999_983]


def tone(seconds: float, *, pitch: float = 440.0, sample_rate: int = 24_000) -> Audio:
    """A steady tone whose phase is exact: that of float32 would be noise of -50 dB."""
    time = torch.arange(round(seconds * sample_rate), dtype=torch.float64) / sample_rate
    return Audio(0.5 * torch.sin(2 * math.pi * pitch * time).float()[None], sample_rate)


def level(audio: Audio, *, edge: float = 0.05) -> float:
    """Root mean square, without the edges, where a filter sees silence."""
    skip = round(edge * audio.sample_rate)
    return float(audio.waveform[:, skip:-skip].square().mean().sqrt())


@pytest.mark.parametrize("rate", RATES)
def test_a_tone_keeps_its_pitch_its_level_and_its_phase(rate: int) -> None:
    resampled = tone(1.0, pitch=1000.0, sample_rate=rate).resample(24_000)
    wanted = tone(1.0, pitch=1000.0, sample_rate=24_000)
    assert resampled.waveform.shape == wanted.waveform.shape
    inner = slice(2_400, -2_400)
    torch.testing.assert_close(resampled.waveform[:, inner], wanted.waveform[:, inner], atol=1e-5, rtol=0)


@pytest.mark.parametrize("rate", [44_100, 48_000, 44_101, 96_000])
def test_what_the_lower_rate_cannot_hold_is_gone(rate: int) -> None:
    high = tone(1.0, pitch=14_000.0, sample_rate=rate)  # would fold back to 10 kHz
    assert level(high.resample(24_000)) < 1e-4 * level(high)


@pytest.mark.parametrize("rate", [44_100, 48_000, 44_101])
def test_the_passband_reaches_nine_tenths_of_what_the_lower_rate_can_hold(rate: int) -> None:
    high = tone(1.0, pitch=0.9 * 12_000, sample_rate=rate)
    assert level(high.resample(24_000)) == pytest.approx(level(high), rel=0.01)


@pytest.mark.parametrize(
    ("length", "rates"), [(1, (44_100, 24_000)), (0, (8_000, 24_000)), (5, (1_000, 24_000))]
)
def test_the_length_is_the_ratio_rounded_up(length: int, rates: tuple[int, int]) -> None:
    audio = Audio(torch.ones(2, length), rates[0]).resample(rates[1])
    assert audio.waveform.shape == (2, math.ceil(length * rates[1] / rates[0]))


def test_channels_are_resampled_each_by_itself() -> None:
    both = torch.cat([tone(0.2, pitch=500.0).waveform, tone(0.2, pitch=900.0).waveform])
    together = Audio(both, 24_000).resample(16_000).waveform
    apart = [Audio(row[None], 24_000).resample(16_000).waveform for row in both]
    assert torch.equal(together, torch.cat(apart))


def test_an_odd_ratio_takes_no_more_memory_than_a_plain_one() -> None:
    """torchaudio's filter has as many taps as the reduced ratio has samples: 44,101 Hz took all memory."""
    tracemalloc.start()
    tone(2.0, sample_rate=44_101).resample(24_000)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4e6
