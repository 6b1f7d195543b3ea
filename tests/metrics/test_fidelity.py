"""The measures of a codec are what they say."""

import pytest
import torch

from musiclm.metrics.fidelity import MelDistance, mel_filters, si_sdr

RATE = 24_000


def test_mel_distance_is_in_units_of_ten() -> None:
    target = 0.1 * torch.randn(2, 1, 24_000)
    assert MelDistance(RATE)(10.0 * target, target).item() == pytest.approx(1.0, abs=1e-3)


def test_a_distance_over_several_windows_is_the_mean_of_theirs() -> None:
    target = 0.1 * torch.randn(1, 1, 4800)
    output = target + 0.05 * torch.randn(1, 1, 4800)
    each = [MelDistance(RATE, windows=(window,), bands=64)(output, target) for window in (128, 1024)]
    both = MelDistance(RATE, windows=(128, 1024), bands=64)(output, target)
    torch.testing.assert_close(both, (each[0] + each[1]) / 2)


def test_every_mel_band_weighs_its_bins_to_one() -> None:
    for window in (64, 2048):
        filters = mel_filters(RATE, window, 64)
        assert filters.shape[0] == window // 2 + 1
        torch.testing.assert_close(filters.sum(dim=0), torch.ones(filters.shape[1]))


def test_si_sdr_ignores_scale_and_knows_its_decibels() -> None:
    torch.manual_seed(0)
    target = torch.randn(2, 1, 48_000)
    noise = torch.randn(2, 1, 48_000) * 0.1
    torch.testing.assert_close(si_sdr(target + noise, target), torch.tensor([20.0, 20.0]), atol=0.3, rtol=0)
    torch.testing.assert_close(
        si_sdr(7.0 * (target + noise), target), si_sdr(target + noise, target), atol=1e-3, rtol=0
    )


def test_si_sdr_is_that_of_torchmetrics() -> None:
    audio = pytest.importorskip("torchmetrics.functional.audio")
    target = 0.1 * torch.randn(3, 1, 24_000) + 0.05
    output = target + torch.tensor([0.01, 0.1, 1.0])[:, None, None] * torch.randn(3, 1, 24_000)
    reference = audio.scale_invariant_signal_distortion_ratio(
        output.flatten(1), target.flatten(1), zero_mean=True
    )
    torch.testing.assert_close(si_sdr(output, target), reference, atol=1e-3, rtol=0)
