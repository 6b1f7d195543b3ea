"""Promises of windows: every frame once, with its context; memory does not grow with the recording."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from musiclm.tokenizers import soundstream
from musiclm.tokenizers.checks import check_waveform
from musiclm.tokenizers.convnext import ConvNeXtDecoder, ConvNeXtEncoder
from musiclm.tokenizers.kmeans import KMeans
from musiclm.tokenizers.mulan import MuLan
from musiclm.tokenizers.mulan_towers import AudioTower, TextTower
from musiclm.tokenizers.seanet import SEANetDecoder, SEANetEncoder
from musiclm.tokenizers.soundstream import SoundStream
from musiclm.tokenizers.w2v_bert import W2VBertTokens
from musiclm.tokenizers.windows import join, windows
from tests.tiny import live_bytes, make_w2v_bert, noise

RATE = 24_000
SECOND = 4 * RATE  # bytes of a second of float32 samples
TRUNKS: dict[str, tuple[type, type, dict[str, Any]]] = {
    "convnext": (ConvNeXtEncoder, ConvNeXtDecoder, {"width": 8, "hidden": 8, "depth": 2}),
    "seanet": (SEANetEncoder, SEANetDecoder, {"width": 1}),
}


def make_codec(trunk: str) -> SoundStream:
    torch.manual_seed(0)
    encoder, decoder, words = TRUNKS[trunk]
    codec = SoundStream(
        encoder(4, **words), decoder(4, **words), dimension=4, num_quantizers=3, codebook_size=8
    )
    codec.quantizer.codebooks.normal_()
    return codec.eval()


def make_mulan() -> MuLan:
    torch.manual_seed(0)
    audio = AudioTower(dimension=4, num_mels=8, stem_channels=2, channels=[2], blocks=[1])
    text = TextTower(dimension=4, width=8, num_layers=1, num_heads=1, vocabulary_size=384)
    return MuLan(audio, text, dimension=4, window_seconds=2.0).eval()


def make_tokens() -> W2VBertTokens:
    kmeans = KMeans(8, 16, layer=2)
    kmeans.centroids.copy_(torch.randn(8, 16))
    return W2VBertTokens(make_w2v_bert(), kmeans)


@given(frames=st.integers(1, 300), overlap=st.integers(0, 20), own=st.integers(1, 30))
def test_every_frame_is_some_window_s_own_with_its_context(frames: int, overlap: int, own: int) -> None:
    size = own + 2 * overlap
    cut = list(windows(frames, size, overlap))
    assert [frame for window in cut for frame in range(window.start, window.stop)] == list(range(frames))
    for window in cut:
        assert window.end - window.begin == min(size, frames)
        assert window.begin == 0 or window.start - window.begin >= overlap
        assert window.end == frames or window.end - window.stop >= overlap


def test_pieces_are_joined_in_order() -> None:
    whole = torch.randn(2, 10, 3)
    assert torch.equal(join(iter(whole.split(4, dim=1)), 10), whole)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_one_sample_that_is_not_finite_is_found(bad: float) -> None:
    waveform = noise(1000)
    check_waveform(waveform)
    waveform[0, 0, 500] = bad
    with pytest.raises(ValueError, match="finite"):
        check_waveform(waveform)


@pytest.mark.parametrize("trunk", TRUNKS)
def test_a_codec_gives_a_long_recording_the_codes_of_the_whole(
    trunk: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    codec, waveform = make_codec(trunk), noise(7 * RATE + 100, batch=2)
    whole = codec.encode(waveform)  # at once
    monkeypatch.setattr(soundstream, "CHUNK_SECONDS", 1.0)
    pieces = codec.encode(waveform)
    assert pieces.shape == whole.shape == (2, 3, 351)
    # The latents are the same but for rounding, which can only move one that lies between two entries.
    assert (pieces == whole).float().mean() > 0.999


@pytest.mark.parametrize(
    ("tokenize", "share"),
    [
        (make_tokens().encode, 0.01),  # 25 tokens of 8 bytes a second; a layer's features would be 0.017
        (make_codec("convnext").encode, 0.04),  # 150 codes of 8 bytes a second
        (make_mulan().embed_windows, 0.01),  # 4 numbers a second
    ],
    ids=["semantic", "acoustic", "mulan"],
)
def test_memory_grows_by_little_more_than_the_tokens(
    tokenize: Callable[[Tensor], Tensor], share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(soundstream, "CHUNK_SECONDS", 2.0)
    assert grows_by(tokenize) < share


def test_features_of_a_whole_recording_are_held_once_and_of_one_layer() -> None:
    encoder = make_w2v_bert()
    assert 0.016 < grows_by(lambda waveform: encoder.features(waveform, 2)) < 0.019
    assert grows_by(lambda waveform: encoder.all_features(waveform, 2)[-1]) > 3 * 0.016


def grows_by(work: Callable[[Tensor], Tensor]) -> float:
    """Bytes that `work` has alive at once beside its waveform, as a share of it."""
    short, long = noise(20 * RATE), noise(36 * RATE)  # more windows than are taken at once
    with torch.inference_mode():
        return (live_bytes(lambda: work(long)) - live_bytes(lambda: work(short))) / (16 * SECOND)
