"""EnCodec is the published model, codes and sound, and keeps SoundStream's promises beside it."""

import math
from pathlib import Path

import pytest
import torch
from encodec import EncodecModel
from torch import Tensor

from musiclm.tokenizers import encodec
from musiclm.tokenizers.encodec import EnCodec
from musiclm.tokenizers.published_weights import read_published
from tests.tokenizers.tiny_codecs import SEANET

HOP = 320
Published = tuple[Path, EncodecModel]


@pytest.fixture(scope="module")
def codec(published_encodec: Published) -> EnCodec:
    return EnCodec.from_published(read_published(published_encodec[0]))


def noise(*shape: int) -> Tensor:
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("length", [1, HOP - 1, HOP, HOP + 1, 24_007])
def test_codes_and_sound_are_the_packages_own(
    codec: EnCodec, published_encodec: Published, length: int
) -> None:
    model = published_encodec[1]
    model.set_target_bandwidth(6.0)  # kbit/s: 8 levels
    waveform = noise(1, 1, length)
    with torch.no_grad():
        ((wanted, _),) = model.encode(waveform)
        sound = model.decode([(wanted, None)])
    codes = codec.encode(waveform)
    assert torch.equal(codes, wanted)
    assert codes.shape == (1, 8, math.ceil(length / HOP))
    assert codes.unique().numel() > min(4, codes.numel() // 2)  # the test's codebooks are not one entry
    torch.testing.assert_close(codec.decode(codes), sound.clamp(-1, 1), atol=1e-6, rtol=1e-5)


def test_it_says_what_a_stage_needs_to_know(codec: EnCodec) -> None:
    assert (codec.sample_rate, codec.hop_length, codec.frame_rate) == (24_000, HOP, 75.0)
    assert (codec.num_quantizers, codec.codebook_size) == (8, 1024)
    assert codec.codebooks.shape == (8, 1024, 128)


def test_the_entries_of_a_frames_codes_add_up_to_what_is_decoded(codec: EnCodec) -> None:
    codes = codec.encode(noise(1, 1, 4 * HOP))
    entries = sum(codec.codebooks[level][codes[0, level]] for level in range(8))  # [T, D]
    latents = codec.quantizer.decode(codes.transpose(0, 1))[0].t()
    torch.testing.assert_close(entries, latents)


def test_a_row_of_a_batch_is_coded_as_if_alone(codec: EnCodec) -> None:
    waveform = noise(3, 1, 6 * HOP + 7)
    codes = codec.encode(waveform)
    output = codec.decode(codes)
    assert codes.dtype == torch.int64
    assert output.dtype == torch.float32
    for row in range(3):
        assert torch.equal(codec.encode(waveform[row : row + 1]), codes[row : row + 1])
        torch.testing.assert_close(codec.decode(codes[row : row + 1]), output[row : row + 1])


@pytest.mark.parametrize("levels", [1, 5])
def test_fewer_levels_are_the_first_ones_and_still_decode(codec: EnCodec, levels: int) -> None:
    waveform = noise(1, 1, 4 * HOP)
    codes = codec.encode(waveform, num_quantizers=levels)
    assert torch.equal(codes, codec.encode(waveform)[:, :levels])
    assert codec.decode(codes).shape == waveform.shape


def test_a_long_recording_goes_through_in_stretches_to_the_same_codes(
    codec: EnCodec, monkeypatch: pytest.MonkeyPatch
) -> None:
    waveform = noise(1, 1, 60 * HOP + 5)
    codes = codec.encode(waveform)
    sound = codec.decode(codes)
    monkeypatch.setattr(encodec, "STRETCH", 16)
    assert torch.equal(codec.encode(waveform), codes)
    torch.testing.assert_close(codec.decode(codes), sound, atol=1e-6, rtol=1e-5)


def test_sound_that_has_begun_changes_nothing(codec: EnCodec) -> None:
    codes = codec.encode(noise(1, 1, 4 * HOP))
    assert torch.equal(codec.decode(codes, prefix=noise(1, 1, 2 * HOP)), codec.decode(codes))


@pytest.mark.parametrize(
    ("waveform", "levels"),
    [
        (torch.tensor([[[0.0, math.nan]]]), None),
        (torch.tensor([[[0.0, math.inf]]]), None),
        (torch.zeros(1, 2, HOP), None),
        (torch.zeros(1, HOP), None),
        (torch.zeros(1, 1, 0), None),
        (torch.zeros(1, 1, HOP), 0),
        (torch.zeros(1, 1, HOP), 99),
    ],
)
def test_what_soundstream_refuses_is_refused_in_the_same_words(
    codec: EnCodec, waveform: Tensor, levels: int | None
) -> None:
    said = []
    for tokenizer in (codec, SEANET):
        with pytest.raises(ValueError, match=r"^expected") as refusal:
            tokenizer.encode(waveform, num_quantizers=levels)
        said.append(str(refusal.value).replace(f"1 … {tokenizer.num_quantizers}", "1 … Q"))
    assert said[0] == said[1]


@pytest.mark.parametrize("codes", [[[[0, 1024]]], [[[-1]]], [[0]], [[[0]] * 9], [[[]]]])
def test_codes_that_are_none_are_refused(codec: EnCodec, codes: list) -> None:
    with pytest.raises(ValueError, match=r"^expected codes of"):
        codec.decode(torch.tensor(codes, dtype=torch.int64))


def test_weights_of_another_model_are_refused() -> None:
    with pytest.raises(ValueError, match="24 kHz model") as refusal:
        EnCodec.from_published({"encoder.weight": torch.zeros(2)})
    assert "\n" not in str(refusal.value)
    with pytest.raises(ValueError, match="1 … 32, got 33"):
        EnCodec(33)
