"""The mel front end equals torchaudio's, keeps its length rule and survives silence."""

import math

import pytest
import torch

from musiclm.tokenizers.mel import LogMel, mel_filterbank


@pytest.mark.parametrize(
    ("bins", "mels", "rate", "low", "high"),
    [(513, 64, 24000, 0.0, 12000.0), (257, 80, 16000, 20.0, 8000.0), (1025, 128, 24000, 50.0, 9000.0)],
)
def test_filters_equal_torchaudio(bins: int, mels: int, rate: int, low: float, high: float) -> None:
    functional = pytest.importorskip("torchaudio.functional")
    reference = functional.melscale_fbanks(bins, low, high, mels, rate, norm=None, mel_scale="htk")
    ours = mel_filterbank(bins, mels, sample_rate=rate, low_hz=low, high_hz=high)
    # torchaudio computes in float32; the difference of two frequencies near 12 kHz costs three digits.
    torch.testing.assert_close(ours, reference, atol=2e-4, rtol=0)


def test_impossible_band_is_refused() -> None:
    with pytest.raises(ValueError, match="low_hz < high_hz"):
        mel_filterbank(513, 64, sample_rate=24000, high_hz=13000.0)


@pytest.mark.parametrize("samples", [1, 239, 240, 24000])
def test_one_frame_per_hop_and_one_more(samples: int) -> None:
    mel = LogMel(24000, 64, window_length=600, hop_length=240, fft_length=1024)
    assert mel(torch.zeros(2, 1, samples)).shape == (2, 64, samples // 240 + 1)


def test_a_sine_is_loudest_in_its_own_band() -> None:
    mel = LogMel(24000, 64, window_length=600, hop_length=240, fft_length=1024)
    sine = torch.sin(2 * math.pi * 1000 * torch.arange(24000) / 24000)
    band = mel(sine[None, None])[0, :, 50].argmax()
    assert band == mel.filters[round(1000 / 24000 * 1024)].argmax()


def test_silence_is_the_floor_and_has_finite_gradients() -> None:
    mel = LogMel(24000, 64, window_length=600, hop_length=240, power=1.0, floor=1e-5)
    waveform = torch.zeros(1, 1, 2400, requires_grad=True)
    out = mel(waveform)
    out.sum().backward()
    torch.testing.assert_close(out, torch.full_like(out, math.log(1e-5)))
    assert waveform.grad is not None
    assert waveform.grad.isfinite().all()


def test_derived_values_are_not_state_and_autocast_does_not_touch_them() -> None:
    mel = LogMel(24000, 64, window_length=600, hop_length=240)
    waveform = torch.randn(1, 1, 4800, generator=torch.Generator().manual_seed(0))
    assert not mel.state_dict()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(mel(waveform), mel(waveform))
        assert mel(waveform).dtype == torch.float32
