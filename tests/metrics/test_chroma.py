"""Chroma puts notes where they belong."""

import math

import pytest
import torch

from musiclm.metrics.chroma import (
    SAMPLE_RATE,
    chroma_by_band,
    chroma_entropy,
    pitch_class_accuracy,
    pitch_class_changes,
)

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


def only(*classes: int) -> torch.Tensor:
    """One pitch class a moment."""
    return torch.nn.functional.one_hot(torch.tensor(classes), 12).T.float()


def test_the_entropy_is_0_of_one_pitch_class_and_1_of_all() -> None:
    assert chroma_entropy(only(3, 3, 5)) == pytest.approx(0.0)
    assert chroma_entropy(torch.full((12, 4), 0.3)) == pytest.approx(1.0)
    two = torch.zeros(12, 3)
    two[[0, 7]] = 2.0
    assert chroma_entropy(two) == pytest.approx(math.log(2) / math.log(12))
    assert math.isnan(chroma_entropy(torch.zeros(12, 3)))


def test_pitch_classes_are_right_where_they_are_those_of_the_reference() -> None:
    reference = only(0, 0, 4, 4)
    assert pitch_class_accuracy(only(0, 0, 4, 4), reference) == 1.0
    assert pitch_class_accuracy(only(0, 0, 4, 5, 9, 9), reference) == 0.75  # what is longer does not count
    assert pitch_class_accuracy(torch.zeros(12, 4), only(0, 0, 0, 0)) == 0.0  # silence is not the class of C
    reference[:, 2:] = 0
    assert pitch_class_accuracy(only(0, 0, 1, 1), reference) == 1.0  # where the reference rests, all is right
    assert math.isnan(pitch_class_accuracy(only(0), torch.zeros(12, 1)))


def test_a_bass_that_wavers_changes_often() -> None:
    assert pitch_class_changes(only(*[0] * 10, *[7] * 10), frame_rate=10.0) == pytest.approx(10 / 19)
    assert pitch_class_changes(only(*[0, 1] * 10), frame_rate=10.0) == pytest.approx(10.0)
    held, wavering = tone(110.0), torch.cat([tone(f, 0.2) for f in (104.0, 116.5) * 5])
    rates = [
        pitch_class_changes(chroma_by_band(sound, tuning=0.0)[0], SAMPLE_RATE / 512)
        for sound in (held, wavering)
    ]
    assert rates[0] == 0
    assert rates[1] > 3
