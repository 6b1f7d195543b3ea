"""Phases made up for magnitudes: tones stay tones, what is known stays, joints are not heard."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from musiclm.tokenizers.convnext import Spectrum
from musiclm.tokenizers.phase import peaks, reconstruct_phase

HOP = 480
SPECTRUM = Spectrum(1920, HOP)


def tone(*frequencies: float, frames: int = 40) -> Tensor:
    """Sines [1, 1, frames * HOP] of frequencies in Hz, each of amplitude 0.2, started at unlike phases."""
    time = torch.arange(frames * HOP) / 24_000
    sines = [0.2 * torch.sin(math.tau * f * time + number) for number, f in enumerate(frequencies)]
    return torch.stack(sines).sum(dim=0)[None, None]


def strongest(waveform: Tensor) -> float:
    """Frequency in Hz of the strongest partial of a waveform [1, 1, L]."""
    middle = waveform[0, 0, 4 * HOP : -4 * HOP]
    spectrum = torch.fft.rfft(middle * torch.hann_window(len(middle)), n=2**17).abs()
    return float(spectrum.argmax()) * 24_000 / 2**17


@given(frequency=st.floats(60.0, 11_000.0))
@settings(max_examples=25, deadline=None)
def test_a_tone_known_by_magnitude_alone_comes_back_at_its_pitch_and_level(frequency: float) -> None:
    waveform = tone(frequency)
    again = SPECTRUM.sound(SPECTRUM(waveform).abs())
    assert again.shape == waveform.shape
    assert abs(strongest(again) - frequency) < 0.5
    inner = slice(4 * HOP, -4 * HOP)
    level = again[..., inner].square().mean() / waveform[..., inner].square().mean()
    assert abs(10 * math.log10(level)) < 0.5


def test_a_chord_comes_back_with_the_spectrum_it_had() -> None:
    magnitude = SPECTRUM(tone(220.0, 277.18, 329.63, 1_000.0)).abs()
    again = SPECTRUM(SPECTRUM.sound(magnitude)).abs()
    error = (again - magnitude)[:, 4:-4].norm() / magnitude[:, 4:-4].norm()
    assert 20 * math.log10(error) < -20


def test_a_sound_does_not_begin_with_a_click() -> None:
    """All partials at their height at once would be heard as one."""
    waveform = tone(*(110.0 * 1.1**number for number in range(30)))
    again = SPECTRUM.sound(SPECTRUM(waveform).abs())[0, 0].abs()
    assert again[: 2 * HOP].max() < 1.2 * again[4 * HOP : -4 * HOP].max()


def test_phases_that_are_known_are_kept() -> None:
    spectra = SPECTRUM(tone(440.0, 660.0))
    whole = reconstruct_phase(
        spectra.abs(), spectra[:, :10], hop=HOP, consistent=lambda s: SPECTRUM(SPECTRUM.inverse(s))
    )
    torch.testing.assert_close(whole[:, :10], spectra[:, :10], atol=1e-4, rtol=1e-4)


def test_given_all_of_a_sound_its_magnitudes_give_it_back() -> None:
    waveform = tone(440.0, 555.0)
    torch.testing.assert_close(
        SPECTRUM.sound(SPECTRUM(waveform).abs(), waveform), waveform, atol=1e-5, rtol=1e-4
    )


@pytest.mark.parametrize("frequency", [110.0, 441.3, 3_000.0])
def test_a_tone_that_goes_on_from_its_beginning_has_no_joint(frequency: float) -> None:
    waveform = tone(frequency, frames=60)
    again = SPECTRUM.sound(SPECTRUM(waveform).abs(), waveform[..., : 30 * HOP])
    joint = (again - waveform)[..., 27 * HOP : 33 * HOP]  # where it is let go, phase has not drifted yet
    assert joint.abs().max() < 0.05


def test_silence_and_noise_are_finite_and_a_row_is_as_if_alone() -> None:
    noise = 0.1 * torch.randn(2, 1, 12 * HOP, generator=torch.Generator().manual_seed(0))
    noise[1] = 0
    sound = SPECTRUM.sound(SPECTRUM(noise).abs())
    assert sound.isfinite().all()
    assert not sound[1].any()
    torch.testing.assert_close(SPECTRUM.sound(SPECTRUM(noise[:1]).abs()), sound[:1], atol=1e-4, rtol=1e-3)


@given(place=st.floats(50.0, 800.0))
@settings(max_examples=25, deadline=None)
def test_a_peak_is_found_to_a_fraction_of_a_bin(place: float) -> None:
    magnitude = SPECTRUM(tone(place * 24_000 / 1920)).abs()[:, 20:21]
    nearest, frequency = peaks(magnitude)
    bin_ = round(place)
    assert abs(float(frequency[0, 0, bin_]) - place) < 0.1
    assert torch.equal(nearest[0, 0, bin_ - 1 : bin_ + 2], nearest[0, 0, bin_].expand(3))
