"""The codec keeps its promises: lengths, nesting of levels, learned codebooks, clear refusals."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from musiclm.tokenizers.convnext import Spectrum
from musiclm.tokenizers.nearest import nearest
from musiclm.tokenizers.residual_vq import ResidualVectorQuantizer, kmeans
from musiclm.tokenizers.running_norm import RunningNorm
from musiclm.tokenizers.seanet import SEANetDecoder, SEANetEncoder
from musiclm.tokenizers.soundstream import SoundStream
from tests.tokenizers.tiny_codecs import (
    DIMENSION,
    ENTRIES,
    HOP,
    LEVELS,
    LOW_BAND,
    SEANET,
    SPECTRAL,
    fill_codebooks,
    noise,
    seanet_codec,
    spectral_codec,
)


@pytest.fixture(params=[SPECTRAL, LOW_BAND, SEANET], ids=["convnext", "low band", "seanet"])
def codec(request: pytest.FixtureRequest) -> SoundStream:
    return request.param


@given(length=st.integers(1, 5 * HOP), batch=st.integers(1, 2), spectral=st.booleans())
@settings(max_examples=40, deadline=None)
def test_a_frame_for_every_hop_begun_and_a_hop_for_every_frame(
    length: int, batch: int, spectral: bool
) -> None:
    codec = SPECTRAL if spectral else SEANET
    codes = codec.encode(noise(batch, 1, length))
    assert codes.shape == (batch, LEVELS, math.ceil(length / HOP))
    assert codec.decode(codes).shape == (batch, 1, codes.shape[-1] * HOP)


def test_codes_are_int64_of_the_codebook_and_sound_is_float32_in_range(codec: SoundStream) -> None:
    codes = codec.encode(noise(2, 1, 4 * HOP))
    assert codes.dtype == torch.int64
    assert 0 <= int(codes.min()) <= int(codes.max()) < ENTRIES
    output = codec.decode(codes)
    assert output.dtype == torch.float32
    assert output.abs().max() <= 1.0
    assert codec.frame_rate == 50.0


def test_the_same_sound_always_gives_the_same_codes(codec: SoundStream) -> None:
    waveform = noise(1, 1, 4 * HOP)
    assert torch.equal(codec.encode(waveform), codec.encode(waveform))


def test_a_row_of_a_batch_is_coded_as_if_alone(codec: SoundStream) -> None:
    waveform = noise(3, 1, 4 * HOP + 7)
    codes = codec.encode(waveform)
    output = codec.decode(codes)
    for row in range(3):
        assert torch.equal(codec.encode(waveform[row : row + 1]), codes[row : row + 1])
        alone = codec.decode(codes[row : row + 1])
        torch.testing.assert_close(alone, output[row : row + 1], rtol=1e-4, atol=3e-5)  # products round


@pytest.mark.parametrize("levels", [1, 2, LEVELS])
def test_fewer_levels_are_the_first_ones_and_still_decode(codec: SoundStream, levels: int) -> None:
    waveform = noise(1, 1, 4 * HOP)
    codes = codec.encode(waveform, num_quantizers=levels)
    assert torch.equal(codes, codec.encode(waveform)[:, :levels])
    assert codec.decode(codes).shape == waveform.shape


def test_each_level_brings_the_latents_closer() -> None:
    latents = torch.randn(1, DIMENSION, 200, generator=torch.Generator().manual_seed(2))
    quantizer = trained_quantizer(latents)
    codes = quantizer.encode(latents, LEVELS)
    wanted = quantizer.norm(latents.transpose(1, 2)).transpose(1, 2)
    errors = [float((quantizer.decode(codes[:, :k]) - wanted).square().mean()) for k in (1, 2, 3)]
    assert errors[0] > 1.2 * errors[1] > 1.44 * errors[2]


def test_the_bit_rate_counts_every_level_of_every_frame(codec: SoundStream) -> None:
    assert codec.bitrate == LEVELS * 3 * 50  # 8 entries are 3 bits
    assert [codec.bitrate_of(levels) for levels in (1, 2, 3)] == [150, 300, 450]
    with pytest.raises(ValueError, match="1 … 3, got 0"):
        codec.bitrate_of(0)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_sample_that_is_no_number_is_refused(codec: SoundStream, bad: float) -> None:
    waveform = noise(1, 1, HOP)
    waveform[0, 0, 5] = bad
    with pytest.raises(ValueError, match="finite"):
        codec.encode(waveform)


def test_wrong_shapes_levels_and_codes_are_refused_with_what_was_expected() -> None:
    with pytest.raises(ValueError, match=r"\[B, 1, L\], got \[1, 2, 480\]"):
        SPECTRAL.encode(noise(1, 2, HOP))
    with pytest.raises(ValueError, match="mono"):
        SPECTRAL.encode(noise(1, 1, 0))
    with pytest.raises(ValueError, match="1 … 3, got 4"):
        SPECTRAL.encode(noise(1, 1, HOP), num_quantizers=4)
    with pytest.raises(ValueError, match="0 … 7, got 0 … 8"):
        SPECTRAL.decode(torch.tensor([[[0, 8]]]))
    with pytest.raises(ValueError, match="codes of shape"):
        SPECTRAL.decode(torch.zeros(1, LEVELS + 1, 2, dtype=torch.int64))


def test_silence_is_coded_like_any_sound(codec: SoundStream) -> None:
    assert codec.decode(codec.encode(torch.zeros(1, 1, 3 * HOP))).isfinite().all()


@pytest.mark.parametrize("make", [spectral_codec, seanet_codec])
def test_the_decoders_gradient_reaches_the_encoder_through_the_codes(make) -> None:
    codec = fill_codebooks(make()).train()
    codec(noise(2, 1, 4 * HOP)).waveform.square().mean().backward()
    for name, parameter in codec.encoder.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_output_has_the_inputs_length_in_training() -> None:
    output = fill_codebooks(spectral_codec()).train()(noise(2, 1, 1001))
    assert output.waveform.shape == (2, 1, 1001)
    assert output.codes.shape == (2, LEVELS, 3)


def test_a_spectrum_turned_back_is_the_signal() -> None:
    spectrum = Spectrum(1920, HOP)
    waveform = noise(2, 1, 6 * HOP)
    frames = spectrum(waveform)
    assert frames.shape == (2, 6, 961)
    torch.testing.assert_close(spectrum.inverse(frames), waveform, atol=1e-5, rtol=1e-4)


def test_a_window_must_hold_whole_hops() -> None:
    with pytest.raises(ValueError, match="hops"):
        Spectrum(1000, HOP)


def test_the_paper_trunk_is_causal_from_the_first_frame_on() -> None:
    encoder, decoder = SEANetEncoder(4, width=2), SEANetDecoder(4, width=2)  # the paper's kernels
    waveform, given = noise(1, 1, 8 * HOP).requires_grad_(), noise(1, 4, 8).requires_grad_()
    latents, decoded = encoder(waveform), decoder(given)  # [1, D, 8], [1, 1, 8 * HOP]
    for frame in range(7):
        end = (frame + 1) * HOP
        (heard,) = torch.autograd.grad(latents[0, :, frame].sum(), waveform, retain_graph=True)
        assert bool((heard[0, 0, :end] != 0).any())
        assert bool((heard[0, 0, end:] == 0).all())
        (used,) = torch.autograd.grad(decoded[0, 0, :end].sum(), given, retain_graph=True)
        assert bool((used[0, :, frame] != 0).any())
        assert bool((used[0, :, frame + 1 :] == 0).all())


# The quantizer


def fresh_quantizer() -> ResidualVectorQuantizer:
    torch.manual_seed(0)
    return ResidualVectorQuantizer(DIMENSION, num_quantizers=LEVELS, codebook_size=ENTRIES).train()


def trained_quantizer(latents: Tensor, steps: int = 20) -> ResidualVectorQuantizer:
    quantizer = fresh_quantizer()
    for _ in range(steps):
        quantizer(latents)
    return quantizer.eval()


def clustered(num_frames: int = 64) -> Tensor:
    """Latents [1, D, num_frames] in as many tight clusters as a codebook has entries."""
    generator = torch.Generator().manual_seed(3)
    centres = 4.0 * torch.randn(ENTRIES, DIMENSION, generator=generator)
    which = torch.arange(num_frames) % ENTRIES
    frames = centres[which] + 0.01 * torch.randn(num_frames, DIMENSION, generator=generator)
    return frames.t()[None]


def test_codebooks_begin_at_the_centres_of_the_data() -> None:
    latents = clustered()
    quantizer = fresh_quantizer()
    assert not quantizer.codebooks.any()
    quantizer(latents)
    frames = quantizer.norm.eval()(latents.transpose(1, 2))[0]  # [64, D]
    distances = torch.cdist(frames, quantizer.codebooks[0]).min(dim=1).values
    assert quantizer.is_initialized
    assert distances.median() < 0.05 * frames.norm(dim=1).mean()


def test_latents_pass_unquantized_until_enough_were_seen_or_while_told_so() -> None:
    quantizer = fresh_quantizer()
    few = clustered(num_frames=16)
    for latents, quantize in [(few, True), (clustered(), False)]:
        output = quantizer(latents, quantize=quantize)
        torch.testing.assert_close(output.latents, quantizer.norm.eval()(latents.mT).mT)
        quantizer.norm.train()
        assert not quantizer.is_initialized
        assert not output.codes.any()
    quantizer(few)
    assert quantizer.is_initialized


def test_kmeans_finds_well_parted_clusters() -> None:
    torch.manual_seed(0)
    frames = clustered()[0].t()
    centroids, counts = kmeans(frames, ENTRIES)
    assert counts.sum() == len(frames)
    assert centroids[nearest(frames, centroids)].sub(frames).norm(dim=1).median() < 0.1


def test_entries_nobody_uses_come_back_where_the_data_is() -> None:
    latents = torch.randn(1, DIMENSION, 64, generator=torch.Generator().manual_seed(4))
    quantizer = trained_quantizer(latents).train()
    quantizer.codebooks[:, 1:] = 100.0  # a collapse: one entry left, the others far away
    quantizer.sums[:, 1:] = 100.0
    quantizer.counts[:, 1:] = 1.0
    quantizer(latents)  # notices
    codes = quantizer(latents).codes
    assert all(len(codes[:, level].unique()) >= ENTRIES // 2 for level in range(LEVELS))
    assert quantizer.codebooks.abs().max() < 10.0


def test_codebooks_follow_latents_that_move() -> None:
    latents = clustered()
    quantizer = trained_quantizer(latents).train()
    quantizer.norm.eval()
    frames = quantizer.norm(latents.mT)
    target = frames + 0.3
    moved = ((target / (quantizer.norm.variance + 1e-6).rsqrt()) + quantizer.norm.mean).mT
    quantizer.codebooks[1:] = 0.0
    before = float(quantizer(moved).commitment)
    for _ in range(300):
        after = float(quantizer(moved).commitment)
    assert after < 0.5 * before


def test_an_example_uses_only_the_levels_it_drew() -> None:
    latents = torch.randn(3, DIMENSION, 40, generator=torch.Generator().manual_seed(5))
    quantizer = trained_quantizer(latents)
    drawn = torch.tensor([1, 2, 3])
    output = quantizer(latents, drawn)
    for row, levels in enumerate(drawn.tolist()):
        codes = output.codes[row : row + 1, :levels]
        torch.testing.assert_close(output.latents[row : row + 1], quantizer.decode(codes))


def test_training_the_quantizer_is_a_function_of_the_seed() -> None:
    latents = torch.randn(2, DIMENSION, 64, generator=torch.Generator().manual_seed(6))
    first, second = (trained_quantizer(latents).state_dict() for _ in range(2))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[key], second[key]) for key in first)


def test_what_only_training_needs_is_named_and_the_rest_encodes_alike() -> None:
    latents = torch.randn(2, DIMENSION, 64, generator=torch.Generator().manual_seed(7))
    trained = trained_quantizer(latents)
    names = trained.training_state + trained.norm.training_state
    kept = {key: value for key, value in trained.state_dict().items() if not key.endswith(names)}
    assert len(kept) < len(trained.state_dict())
    other = fresh_quantizer().eval()
    missing = other.load_state_dict(kept, strict=False)
    assert not missing.unexpected_keys
    assert torch.equal(other.encode(latents, LEVELS), trained.encode(latents, LEVELS))


def test_running_norm_takes_away_a_constant_that_all_frames_share() -> None:
    torch.manual_seed(0)
    norm = RunningNorm(4).train()
    for _ in range(50):
        norm(100.0 + 0.01 * torch.randn(2, 64, 4))
    frames = norm.eval()(100.0 + 0.01 * torch.randn(4, 64, 4))
    assert frames.mean().abs() < 0.3
    assert 0.7 < frames.std() < 1.3
