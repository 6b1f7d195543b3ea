"""Latents of a codec: directions that are found again, what is kept, and sound by way of them."""

import pytest
import torch
from torch import Tensor

from musiclm.bundle import build
from musiclm.tokenizers.codec_latents import CodecAutoencoder, CodecLatents
from musiclm.tokenizers.residual_vq import sum_of_entries
from tests.tiny import SAMPLE_RATE, tone
from tests.tiny_model import PARTS


def fitted(vectors: Tensor, dimension: int, **words: bool) -> tuple[CodecLatents, float]:
    """Latents of vectors [N, D], and the share of the variance that they keep."""
    latents = CodecLatents(vectors.shape[1], dimension, **words)
    centred = vectors - vectors.mean(dim=0)
    return latents, latents.fit(vectors.mean(dim=0), centred.t() @ centred / len(vectors))


@pytest.fixture(scope="module")
def vectors() -> Tensor:
    """Of three dimensions, in six, away from 0."""
    generator = torch.Generator().manual_seed(0)
    turn, _ = torch.linalg.qr(torch.randn(6, 6, generator=generator))
    sizes = torch.tensor([3.0, 2.0, 1.0, 0.0, 0.0, 0.0])
    return torch.randn(4000, 6, generator=generator) * sizes @ turn + 5.0


@pytest.mark.parametrize("whiten", [False, True])
def test_the_dimensions_that_there_are_are_all_that_is_needed(vectors: Tensor, whiten: bool) -> None:
    latents, kept = fitted(vectors, 3, whiten=whiten)
    assert kept == pytest.approx(1.0)
    there = latents.from_vectors(vectors.t()[None])  # [1, 3, N]
    torch.testing.assert_close(latents.to_vectors(there)[0].t(), vectors, atol=1e-3, rtol=0)
    assert there.mean(dim=2).abs().max() < 1e-3
    deviations = there[0].std(dim=1)
    expected = torch.ones(3) if whiten else torch.tensor([3.0, 2.0, 1.0]) / (14 / 3) ** 0.5
    torch.testing.assert_close(deviations, expected, atol=0.05, rtol=0)


def test_fewer_dimensions_keep_the_largest(vectors: Tensor) -> None:
    _, kept = fitted(vectors, 1)
    assert kept == pytest.approx(9 / 14, abs=0.03)


def test_sound_by_way_of_all_latents_is_that_of_the_codes() -> None:
    torch.manual_seed(0)
    codec = build(**PARTS["codec"]).eval()
    codec.quantizer.codebooks.normal_()
    codes = codec.encode(tone(0.5).waveform[None])
    stands_for = sum_of_entries(codec.codebooks, codes)[0].t()
    autoencoder = CodecAutoencoder(codec, fitted(stands_for, 6)[0])
    latents = autoencoder.encode(tone(0.5).waveform[None])
    assert latents.shape == (1, 6, 25)
    assert (autoencoder.frame_rate, autoencoder.sample_rate) == (50.0, SAMPLE_RATE)
    torch.testing.assert_close(autoencoder.decode(latents), codec.decode(codes), atol=1e-4, rtol=0)
    prefix = tone(0.1).waveform[None]
    decoded, by_codes = autoencoder.decode(latents, prefix=prefix), codec.decode(codes, prefix=prefix)
    torch.testing.assert_close(decoded, by_codes, atol=1e-3, rtol=0)


def test_what_does_not_fit_is_said_so() -> None:
    with pytest.raises(ValueError, match="expected a dimension of 1 to 6, got 7"):
        CodecLatents(6, 7)
    with pytest.raises(ValueError, match="expected latents of a codec that decodes vectors of 8 dimensions"):
        CodecAutoencoder(build(**PARTS["codec"]), CodecLatents(8, 2))
