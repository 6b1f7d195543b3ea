"""Pitch classes: those of the notes that sound, in their registers, whatever the loudness."""

import pytest
import torch

from musiclm.metrics.pitch_classes import pitch_classes

RATE = 24_000


def notes(*pitches: int, seconds: float = 3.0) -> torch.Tensor:
    """Sines of MIDI pitches together, [L]."""
    time = torch.arange(round(seconds * RATE)) / RATE
    return sum(torch.sin(2 * torch.pi * 440 * 2 ** ((pitch - 69) / 12) * time) for pitch in pitches) / 10


def test_a_chord_has_its_notes_each_in_its_register() -> None:
    found = pitch_classes(notes(36, 52, 79), RATE).mean(dim=2)  # C2, E3, G5
    assert found.shape == (3, 12)
    assert found.argmax(dim=1).tolist() == [0, 4, 7]


@pytest.mark.parametrize("up", [1, 5, 11])
def test_transposed_music_has_its_pitch_classes_turned(up: int) -> None:
    chord = [48, 52, 55]
    here, there = (
        pitch_classes(notes(*(p + move for p in chord)), RATE).mean(dim=(0, 2)) for move in (0, up)
    )
    assert torch.nn.functional.cosine_similarity(here.roll(up), there, dim=0) > 0.98
    assert torch.nn.functional.cosine_similarity(here, there, dim=0) < 0.95


def test_silence_and_short_sounds_are_no_errors() -> None:
    assert (pitch_classes(torch.zeros(RATE), RATE) == 0).all()
    assert pitch_classes(notes(60, seconds=0.5), RATE).isfinite().all()
