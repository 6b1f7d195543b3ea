"""Silence and clicks are found where they are, and drums are no clicks."""

import math

import pytest
import torch

from musiclm.metrics.faults import clicks, silent_share

RATE = 24_000
TIME = torch.arange(2 * RATE) / RATE
TONE = 0.3 * torch.sin(2 * math.pi * 220 * TIME)


def test_a_spike_is_found_at_its_sample() -> None:
    spiked = TONE.clone()
    spiked[12_345] += 0.3
    spiked[30_000] -= 0.2
    assert clicks(spiked).tolist() == [12_345, 30_000]


def test_a_step_is_found_where_it_is() -> None:
    stepped = TONE.clone()
    stepped[20_000:] = 0.3 * torch.sin(2 * math.pi * 220 * TIME[20_000:] + 2.0)  # a phase that jumps
    found = clicks(stepped)
    assert len(found) == 1
    assert abs(int(found[0]) - 20_000) <= 1


def test_music_without_a_fault_has_no_click() -> None:
    noise = torch.randn(len(TIME), generator=torch.Generator().manual_seed(0))
    drums = 0.5 * noise * torch.exp(-(TIME % 0.5) * 40)
    saw = 0.3 * (2 * (110 * TIME % 1) - 1)  # a step each period, as some synthesizers sound
    for sound in (TONE, 0.2 * noise, TONE + drums, saw, torch.zeros(RATE), torch.zeros(5)):
        assert len(clicks(sound)) == 0


def test_a_click_that_nobody_hears_is_none() -> None:
    spiked = 0.1 * TONE
    spiked[12_345] += 0.003
    assert len(clicks(spiked)) == 0


def test_the_share_of_silence() -> None:
    sound = TONE.clone()
    sound[RATE // 2 : RATE] = 1e-5
    assert silent_share(sound, RATE) == pytest.approx(0.25, abs=0.03)
    assert silent_share(torch.zeros(RATE), RATE) == 1.0
    assert silent_share(TONE, RATE) == 0.0
    assert silent_share(TONE[:10], RATE) in (0.0, 1.0)
