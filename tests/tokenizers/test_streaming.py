"""The codec chunk by chunk: the same codes and the same sound as at once, as soon as they are certain."""

import gc
import weakref
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from musiclm.bundle import Bundle
from musiclm.tokenizers.convnext import Spectrum
from musiclm.tokenizers.soundstream import SoundStream
from tests.tokenizers.tiny_codecs import (
    ENTRIES,
    HOP,
    LEVELS,
    LOW_BAND,
    SEANET,
    SPECTRAL,
    noise,
    seanet_codec,
)

CUTS = st.lists(st.integers(0, 3 * HOP), max_size=8)  # samples or frames of the chunks before the last one


@pytest.fixture(params=[SPECTRAL, LOW_BAND, SEANET], ids=["convnext", "low band", "seanet"])
def codec(request: pytest.FixtureRequest) -> SoundStream:
    return request.param


def chunks(whole: Tensor, sizes: Sequence[int]) -> list[Tensor]:
    """`whole` [..., n] cut into chunks of these sizes, and the rest."""
    rest = whole.shape[-1]
    kept = []
    for size in sizes:
        kept.append(min(size, rest))
        rest -= kept[-1]
    return list(whole.split([*kept, rest], dim=-1))


def encode(codec: SoundStream, parts: list[Tensor], levels: int | None = None) -> Tensor:
    with codec.streaming(num_quantizers=levels) as stream:
        codes = [stream.encode(part, last=part is parts[-1]) for part in parts]
    return torch.cat(codes, dim=-1)


def decode(codec: SoundStream, parts: list[Tensor]) -> Tensor:
    with codec.streaming() as stream:
        waveform = [stream.decode(part, last=part is parts[-1]) for part in parts]
    return torch.cat(waveform, dim=-1)


def random_codes(frames: int, batch: int = 1) -> Tensor:
    return torch.randint(ENTRIES, (batch, LEVELS, frames), generator=torch.Generator().manual_seed(2))


@given(length=st.integers(1, 12 * HOP), cuts=CUTS, batch=st.integers(1, 2), spectral=st.booleans())
@settings(max_examples=20, deadline=None)
def test_codes_of_any_chunks_are_the_codes_of_the_whole(
    length: int, cuts: list[int], batch: int, spectral: bool
) -> None:
    codec = SPECTRAL if spectral else SEANET
    waveform = noise(batch, 1, length)
    assert torch.equal(encode(codec, chunks(waveform, cuts)), codec.encode(waveform))


@given(frames=st.integers(1, 30), cuts=st.lists(st.integers(0, 9), max_size=6), batch=st.integers(1, 2))
@settings(max_examples=12, deadline=None)
def test_sound_of_any_chunks_is_the_sound_of_the_whole(frames: int, cuts: list[int], batch: int) -> None:
    codes = random_codes(frames, batch)
    # Products of matrices of other sizes round otherwise.
    torch.testing.assert_close(decode(SEANET, chunks(codes, cuts)), SEANET.decode(codes), atol=1e-5, rtol=0)


@given(frames=st.integers(1, 40), cuts=st.lists(st.integers(0, 12), max_size=6), batch=st.integers(1, 2))
@settings(max_examples=12, deadline=None)
def test_phases_of_any_chunks_are_the_phases_of_the_whole(frames: int, cuts: list[int], batch: int) -> None:
    spectrum = Spectrum(64, 16)
    magnitude = noise(batch, frames, spectrum.num_bins).abs()
    stream = spectrum.sound_stream()
    parts = chunks(magnitude.mT, cuts)
    sound = torch.cat([stream(part, part is parts[-1]) for part in parts], dim=-1)
    torch.testing.assert_close(sound, spectrum.sound(magnitude), atol=1e-5, rtol=0)


def test_one_sample_at_a_time_is_enough(codec: SoundStream) -> None:
    waveform = noise(1, 1, 2 * HOP + 7)
    assert torch.equal(encode(codec, chunks(waveform, [HOP - 8, *([1] * 16)])), codec.encode(waveform))


def test_the_model_that_ships_streams_too() -> None:
    codec = Bundle.find("default").load("codec")
    waveform = 0.3 * torch.sin(torch.arange(29_000) * 0.06)[None, None] + 0.03 * noise(1, 1, 29_000)
    codes = codec.encode(waveform)
    assert torch.equal(encode(codec, list(waveform.split(5000, dim=-1))), codes)
    # Invented phases hang on which of two bins is the louder: rounding decides some of them.
    whole = codec.decode(codes)
    error = decode(codec, list(codes.split(10, dim=-1))) - whole
    assert whole.square().sum() > 1e4 * error.square().sum()  # 40 dB


def test_what_is_certain_comes_out_and_no_later(codec: SoundStream) -> None:
    with codec.streaming() as stream:
        ahead = round(stream.encode_latency * codec.sample_rate)
        out = 0
        for part in noise(1, 1, 20 * HOP).split(100, dim=-1):
            out += stream.encode(part).shape[-1]
            assert out == max(0, stream._samples - ahead) // HOP
        ahead = round(stream.decode_latency * codec.sample_rate)
        out = 0
        for frame in range(60):
            out += stream.decode(random_codes(1)).shape[-1]
            assert out == max(0, (frame + 1) * HOP - ahead)


def test_the_paper_s_trunk_does_not_wait_and_the_spectral_one_says_for_how_long() -> None:
    with SEANET.streaming() as stream:
        assert (stream.encode_latency, stream.decode_latency) == (0.0, 0.0)
    with Bundle.find("default").load("codec").streaming() as stream:
        assert stream.encode_latency == pytest.approx(0.27)
        assert stream.decode_latency == pytest.approx(0.99)


def test_streams_do_not_know_of_each_other_and_leave_the_codec_as_it_was(codec: SoundStream) -> None:
    before = {name: value.clone() for name, value in codec.state_dict().items()}
    first, second = noise(1, 1, 6 * HOP), -noise(1, 1, 6 * HOP)
    with codec.streaming() as one, codec.streaming() as other:
        for a, b in zip(first.split(700, dim=-1), second.split(700, dim=-1), strict=True):
            one.encode(a)
            other.encode(b)
            assert torch.equal(codec.encode(first), codec.encode(first))
    assert torch.equal(encode(codec, [first[..., :700], first[..., 700:]]), codec.encode(first))
    after = codec.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


def test_fewer_levels_stream_as_they_are_encoded(codec: SoundStream) -> None:
    waveform = noise(1, 1, 4 * HOP)
    codes = encode(codec, chunks(waveform, [1000]), levels=2)
    assert torch.equal(codes, codec.encode(waveform, num_quantizers=2))
    assert decode(codec, chunks(codes, [1])).shape == codec.decode(codes).shape
    with pytest.raises(ValueError, match="1 … 3, got 4"), codec.streaming(num_quantizers=4):
        pass


def test_a_stream_that_has_ended_says_so_and_holds_nothing(codec: SoundStream) -> None:
    with codec.streaming() as stream:
        stream.encode(noise(1, 1, HOP), last=True)
        with pytest.raises(ValueError, match="expected an open stream"):
            stream.encode(noise(1, 1, HOP))
        stream.decode(random_codes(1))  # the other direction goes on
        held = weakref.ref(stream._decoder)  # type: ignore[arg-type]
    gc.collect()
    assert held() is None
    for use in (lambda: stream.encode(noise(1, 1, HOP)), lambda: stream.decode(random_codes(1))):
        with pytest.raises(ValueError, match=r"expected an open stream.*codec.streaming\(\)"):
            use()


def test_nothing_in_is_nothing_out(codec: SoundStream) -> None:
    with codec.streaming() as stream:
        assert stream.encode(torch.zeros(2, 1, 0), last=True).shape == (2, LEVELS, 0)
        assert stream.decode(random_codes(0, batch=2), last=True).shape == (2, 1, 0)


def test_chunks_that_cannot_go_on_are_refused_and_the_stream_is_still_good(codec: SoundStream) -> None:
    waveform, codes = noise(1, 1, 4 * HOP), random_codes(4)
    with codec.streaming() as stream:
        heard = [stream.encode(waveform[..., :500])]
        stream.decode(codes[..., :2])
        for wrong, words in (
            (noise(2, 1, HOP), "chunks of 1 rows as before, got 2"),
            (noise(1, 2, HOP), "mono"),
            (torch.full((1, 1, HOP), float("nan")), "finite"),
        ):
            with pytest.raises(ValueError, match=words):
                stream.encode(wrong)
        for wrong, words in (
            (random_codes(2, batch=2), "chunks of 1 rows as before, got 2"),
            (codes + ENTRIES, "0 … 7"),
            (codes[0], "codes of shape"),
        ):
            with pytest.raises(ValueError, match=words):
                stream.decode(wrong)
        heard.append(stream.encode(waveform[..., 500:], last=True))
    assert torch.equal(torch.cat(heard, dim=-1), codec.encode(waveform))


def test_a_codec_in_training_does_not_stream() -> None:
    with pytest.raises(ValueError, match="call eval"), seanet_codec().train().streaming():
        pass
