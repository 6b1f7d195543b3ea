"""Learned autoencoders: latents for every hop begun, squashed or not, and sound for every latent."""

import math
from typing import Any

import pytest
import torch
from torch import nn

from musiclm.tokenizers.autoencoder import REACH, WaveformAutoencoder
from musiclm.tokenizers.convnext import ConvNeXtDecoder, ConvNeXtEncoder
from musiclm.tokenizers.hifigan import HiFiGANDecoder
from musiclm.tokenizers.protocols import Autoencoder
from musiclm.tokenizers.seanet import SEANetEncoder
from tests.tiny import noise

HOP = 96


def make(*, spectral: bool = False, **words: Any) -> WaveformAutoencoder:
    """MeLoDy's in small, or one with the codec's spectral trunk."""
    torch.manual_seed(0)
    doubled = 2 if words.get("variational", True) else 1
    if spectral:
        encoder: nn.Module = ConvNeXtEncoder(4 * doubled, width=16, hidden=24, depth=1)
        decoder: nn.Module = ConvNeXtDecoder(4, width=16, hidden=24, depth=1)
        return WaveformAutoencoder(encoder, decoder, dimension=4, hop_length=480, **words).eval()
    encoder = SEANetEncoder(4 * doubled, width=2, ratios=(6, 4, 2, 2))
    decoder = HiFiGANDecoder(4, width=32, kernels=(3, 5), dilations=(1, 3))
    return WaveformAutoencoder(encoder, decoder, dimension=4, hop_length=HOP, **words).eval()


@pytest.mark.parametrize("spectral", [False, True])
@pytest.mark.parametrize("variational", [False, True])
@pytest.mark.parametrize("samples", [1, 95, 96, 97, 5_001])
def test_there_is_a_latent_for_every_hop_begun_and_a_hop_of_sound_for_every_latent(
    spectral: bool, variational: bool, samples: int
) -> None:
    part: Autoencoder = make(spectral=spectral, variational=variational)
    latents = part.encode(noise(samples, batch=2))
    assert latents.shape == (2, 4, math.ceil(samples / part.hop_length))
    assert latents.isfinite().all()
    sound = part.decode(latents)
    assert sound.shape == (2, 1, latents.shape[2] * part.hop_length)
    assert sound.abs().max() <= 1
    assert part.frame_rate == 24_000 / part.hop_length
    begun = sound[..., : part.hop_length]
    assert part.decode(latents, prefix=begun).shape == sound.shape


def test_latents_of_a_variational_one_lie_between_minus_one_and_one() -> None:
    part = make()
    with torch.no_grad():
        for parameter in part.encoder.parameters():
            parameter.mul_(10)
    latents = part.encode(noise(5_000))
    assert latents.abs().max() == 1  # far means are cut off
    # Of a standard normal, which the penalty leads to, hardly anything is (MeLoDy).
    assert math.erfc(REACH / 2**0.5) < 0.001


def test_the_divergence_is_that_of_normal_distributions() -> None:
    class Says(nn.Module):
        def forward(self, waveform: torch.Tensor) -> torch.Tensor:
            frames = waveform.shape[2] // HOP
            return torch.cat([torch.full((1, 4, frames), 0.7), torch.full((1, 4, frames), math.log(0.25))], 1)

    part = WaveformAutoencoder(Says(), HiFiGANDecoder(4, width=32), dimension=4, hop_length=HOP)
    own = torch.distributions.Normal(0.7, 0.5)
    expected = torch.distributions.kl_divergence(own, torch.distributions.Normal(0.0, 1.0))
    torch.testing.assert_close(part(noise(960)).divergence, expected)
    assert make(variational=False)(noise(960)).divergence == 0


def test_a_share_of_the_latents_is_left_out_in_training_and_none_afterwards() -> None:
    part = make(variational=False)
    heard: list[torch.Tensor] = []
    part.decoder.register_forward_hook(lambda module, inputs, output: heard.append(inputs[0]))
    part(noise(96_000), masked=0.3)
    absent = (heard[0] == 0).all(dim=1).float().mean()
    assert absent == pytest.approx(0.3, abs=0.05)
    part.decode(part.encode(noise(96_000)))
    assert not (heard[1] == 0).all(dim=1).any()


def test_stereo_goes_in_and_comes_out() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = SEANetEncoder(4, width=2, ratios=(6, 4, 2, 2))

        def forward(self, waveform: torch.Tensor) -> torch.Tensor:
            return self.one(waveform.mean(dim=1, keepdim=True))

    decoder = HiFiGANDecoder(4, width=32, channels=2)
    part = WaveformAutoencoder(
        Both(), decoder, dimension=4, hop_length=HOP, channels=2, variational=False, sample_rate=48_000
    )
    latents = part.encode(noise(2_000).expand(1, 2, -1))
    assert part.decode(latents).shape == (1, 2, 2016)
    with pytest.raises(ValueError, match=r"expected a waveform of shape \[B, 2, L\], got \[1, 1, 2000\]"):
        part.encode(noise(2_000))


@pytest.mark.parametrize("ratios", [(2,), (3, 5), (6, 4, 2, 2)])
def test_hifigan_s_decoder_makes_exactly_a_hop_of_sound_for_a_latent(ratios: tuple[int, ...]) -> None:
    decoder = HiFiGANDecoder(3, width=16, ratios=ratios, kernels=(3,), dilations=(1,))
    for frames in (1, 2, 7):
        assert decoder(torch.randn(2, 3, frames)).shape == (2, 1, frames * math.prod(ratios))


def test_what_is_no_latent_is_one_line() -> None:
    with pytest.raises(ValueError, match=r"^expected latents \[B, 4, T\], got \(1, 3, 5\)$"):
        make().decode(torch.zeros(1, 3, 5))
    with pytest.raises(ValueError, match="expected a width that halves 4 times, got 24"):
        HiFiGANDecoder(4, width=24)
    with pytest.raises(ValueError, match="expected a dimension, hop, sample rate and channels of 1 or more"):
        WaveformAutoencoder(nn.Identity(), nn.Identity(), dimension=0, hop_length=96)
