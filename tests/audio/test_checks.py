"""What is wrong with samples is mended or refused, and said."""

import math

import numpy as np
import pytest
import torch

from musiclm.audio import Audio, check_waveform
from tests.tiny import noise, tone

TUNE = tone(1.0).waveform


def test_sound_as_it_should_be_is_left_as_it_is() -> None:
    mended, warnings = check_waveform(TUNE)
    assert torch.equal(mended, TUNE)
    assert warnings == ()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 1e29, -1e29])
def test_a_few_broken_samples_become_silence(value: float) -> None:
    broken = TUNE.clone()
    broken[:, 500:510] = value
    mended, warnings = check_waveform(broken)
    assert (mended[:, 500:510] == 0).all()
    assert torch.equal(mended[:, 510:], TUNE[:, 510:])
    assert len(warnings) == 1
    assert "NaN" in warnings[0]


@pytest.mark.parametrize("value", [math.nan, math.inf, 1e29])
def test_a_recording_of_broken_samples_is_refused(value: float) -> None:
    broken = TUNE.clone()
    broken[:, ::50] = value  # 2 %
    with pytest.raises(ValueError, match="more than 1 % of its samples are NaN"):
        check_waveform(broken)


@pytest.mark.parametrize("bits", [16, 24, 32])
def test_floats_in_the_range_of_integers_are_scaled_to_full_scale(bits: int) -> None:
    mended, warnings = check_waveform(TUNE * 2.0 ** (bits - 1))
    torch.testing.assert_close(mended, TUNE, atol=1e-6, rtol=0)
    assert "where 1 is full scale" in warnings[0]


@pytest.mark.parametrize("peak", [10.0, 100.0])
def test_what_is_no_integer_range_is_scaled_by_its_peak(peak: float) -> None:
    mended, _ = check_waveform(TUNE / TUNE.abs().max() * peak)
    assert mended.abs().max() == pytest.approx(1.0)


def test_a_hot_master_keeps_its_level() -> None:
    mended, warnings = check_waveform(3 * TUNE)
    assert torch.equal(mended, 3 * TUNE)
    assert warnings == ()


def test_a_constant_offset_is_removed_and_said() -> None:
    mended, warnings = check_waveform(TUNE + 0.3)
    assert mended.mean().abs() < 1e-3
    assert "constant offset of 0.3" in warnings[0]


def test_denormal_numbers_become_zero() -> None:
    quiet = TUNE.clone()
    quiet[:, 100:] = 1e-40
    mended, _ = check_waveform(quiet)
    assert (mended[:, 100:] == 0).all()


@pytest.mark.parametrize("loudness", [0.0, 1e-5])
def test_silence_is_said(loudness: float) -> None:
    _, warnings = check_waveform(torch.full((1, 24_000), loudness))
    assert warnings[0].startswith("silent")


def test_stereo_in_opposite_phase_is_not_mixed_to_silence() -> None:
    stereo = Audio(torch.cat([0.5 * TUNE, -0.6 * TUNE]), 24_000)
    assert torch.equal(stereo.mono().waveform, -0.6 * TUNE)
    _, warnings = check_waveform(stereo.waveform)
    assert "opposite phase" in warnings[0]


@pytest.mark.parametrize("other", [TUNE, 0.3 * TUNE, noise(24_000)[0], torch.zeros(1, 24_000)])
def test_other_stereo_is_mixed_to_the_mean(other: torch.Tensor) -> None:
    stereo = Audio(torch.cat([TUNE, other]), 24_000)
    torch.testing.assert_close(stereo.mono().waveform, (TUNE + other) / 2)


def test_whatever_comes_what_leaves_is_finite_and_in_range() -> None:
    random = np.random.default_rng(0)
    for _ in range(50):
        scale = 10.0 ** random.uniform(-45, 9)
        samples = torch.from_numpy(random.standard_normal((2, 2_000)) * scale).float()
        samples[0, :10] = random.choice([math.nan, math.inf, 1e38, 0.0])
        mended, _ = check_waveform(samples)
        assert mended.isfinite().all()
        assert mended.abs().max() <= 4
