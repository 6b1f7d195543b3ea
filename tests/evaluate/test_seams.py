"""A seam that can be heard is measured as one, and none where there is none."""

import torch

from musiclm.audio import Audio
from musiclm.evaluate.seams import borders_of, seams
from musiclm.generation.windows import WindowSchedule
from tests.tiny import SAMPLE_RATE, melody

BORDERS = [1.9, 4.1, 6.3, 8.6]


def test_music_without_seams_has_none() -> None:
    for measure in seams(melody(10.0, seed=3), BORDERS).values():
        assert measure.borders.shape == (4,)
        assert len(measure.inside) > 800
        assert measure.beyond == 0
        assert measure.rank < 0.8


def test_a_click_shows_in_the_flux() -> None:
    audio = melody(10.0, seed=3)
    audio.waveform[:, round(4.1 * SAMPLE_RATE)] += 0.8
    assert seams(audio, BORDERS)["flux"].beyond == 1 / 4


def test_a_step_in_loudness_shows_in_the_level() -> None:
    time = torch.arange(10 * SAMPLE_RATE) / SAMPLE_RATE
    steady = 0.3 * torch.sin(2 * torch.pi * 330 * time) * (1 + 0.1 * torch.sin(9 * time))
    assert seams(Audio(steady[None], SAMPLE_RATE), BORDERS)["level"].beyond == 0
    louder = torch.where(time > 6.3, steady, steady / 2)
    assert seams(Audio(louder[None], SAMPLE_RATE), BORDERS)["level"].beyond == 1 / 4


def test_borders_are_where_windows_and_blocks_end() -> None:
    tokens = WindowSchedule.of(4.0, 2.0, 25.0)
    codes = WindowSchedule.of(3.0, 1.0, 50.0, unit=2)
    semantic, coarse = [2.0, 4.0, 6.0], [1.0, 3.0, 5.0, 7.0]
    schedules = [(tokens, 25.0, 0.0), (codes, 50.0, 0.0), (codes, 50.0, 0.5)]
    assert borders_of(schedules, 8.0) == sorted([*semantic, *coarse, *(end - 0.5 for end in coarse)])
