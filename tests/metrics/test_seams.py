"""A seam that can be heard is measured as one, and none where there is none."""

import torch

from musiclm.metrics.seams import Measured, seams
from tests.tiny import SAMPLE_RATE, melody

BORDERS = [1.9, 4.1, 6.3, 8.6]


def measured(waveform: torch.Tensor) -> dict[str, Measured]:
    return seams(waveform, BORDERS, sample_rate=SAMPLE_RATE)


def test_music_without_seams_has_none() -> None:
    for measure in measured(melody(10.0, seed=3).waveform[0]).values():
        assert measure.borders.shape == (4,)
        assert len(measure.inside) > 800
        assert measure.beyond == 0
        assert measure.rank < 0.8


def test_a_click_shows_in_the_flux() -> None:
    waveform = melody(10.0, seed=3).waveform[0]
    waveform[round(4.1 * SAMPLE_RATE)] += 0.8
    assert measured(waveform)["flux"].beyond == 1 / 4


def test_a_step_in_loudness_shows_in_the_level() -> None:
    time = torch.arange(10 * SAMPLE_RATE) / SAMPLE_RATE
    steady = 0.3 * torch.sin(2 * torch.pi * 330 * time) * (1 + 0.1 * torch.sin(9 * time))
    assert measured(steady)["level"].beyond == 0
    louder = torch.where(time > 6.3, steady, steady / 2)
    assert measured(louder)["level"].beyond == 1 / 4
