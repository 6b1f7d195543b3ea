"""Chroma puts notes where they belong."""

import torch

from musiclm.metrics.chroma import SAMPLE_RATE, chroma_by_band

C, A = 0, 9  # pitch classes


def tone(frequency: float, seconds: float = 2.0) -> torch.Tensor:
    time = torch.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return 0.3 * torch.sin(2 * torch.pi * frequency * time)


def test_a_bass_note_and_a_tune_are_told_apart_by_band() -> None:
    low, high = chroma_by_band(tone(110.0) + tone(523.25))  # A2 and C5
    assert low.shape == high.shape
    assert low.mean(dim=1).argmax() == A
    assert high.mean(dim=1).argmax() == C
    assert low.mean(dim=1)[A] > 10 * low.mean(dim=1)[C]
    assert high.mean(dim=1)[C] > 10 * high.mean(dim=1)[A]


def test_the_bands_meet_between_b3_and_middle_c() -> None:
    low, high = chroma_by_band(tone(246.9), tuning=0.0)
    assert low.sum() > 2 * high.sum()  # a filter hears its neighbours too
    low, high = chroma_by_band(tone(261.6), tuning=0.0)
    assert high.sum() > 2 * low.sum()


def test_silence_has_no_chroma() -> None:
    assert all(band.max() < 1e-6 for band in chroma_by_band(torch.zeros(SAMPLE_RATE), tuning=0.0))
