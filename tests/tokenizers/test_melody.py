"""The melody embedding's contract: windows, unit length, loudness, silence, bands on semitones."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from musiclm.bundle import load_component, save_component
from musiclm.tokenizers.melody import (
    BANDS_PER_SEMITONE,
    LOWEST_PITCH,
    WINDOW_SECONDS,
    MelodyEmbedding,
)
from tests.tiny import melody, tone

SIZES: dict[str, Any] = {
    "dimension": 12, "width": 16, "num_layers": 2, "num_heads": 2, "feed_forward": 16, "place_width": 4,
}  # fmt: skip


@pytest.fixture
def part() -> MelodyEmbedding:
    return MelodyEmbedding(**SIZES).eval()


@pytest.mark.parametrize(
    ("seconds", "hop", "windows"),
    [
        (0.01, 3.0, 1),
        (3.0, 3.0, 1),
        (3.1, 3.0, 2),
        (4.0, 3.0, 2),
        (10.0, 3.0, 4),
        (2.5, 1.0, 3),
        (65.0, 4.0, 17),
    ],
)
def test_there_is_a_window_for_every_hop_begun(
    part: MelodyEmbedding, seconds: float, hop: float, windows: int
) -> None:
    vectors = part.embed_windows(melody(seconds, seed=0).waveform[None], hop_seconds=hop)
    assert vectors.shape == (windows, 12)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(windows))


def test_a_window_sees_its_four_seconds_and_silence_past_the_end(part: MelodyEmbedding) -> None:
    waveform = melody(8.0, seed=0).waveform[None]
    vectors = part.embed_windows(waveform)  # [3, 12]
    second = waveform[..., 3 * 24_000 : 7 * 24_000]
    last = torch.cat([waveform[..., 6 * 24_000 :], torch.zeros(1, 1, 2 * 24_000)], dim=2)
    torch.testing.assert_close(vectors[1:], part(torch.cat([second, last])), atol=1e-5, rtol=0)


def test_loudness_leaves_no_trace(part: MelodyEmbedding) -> None:
    waveform = melody(4.0, seed=0).waveform[None]
    torch.testing.assert_close(
        part.embed_windows(0.01 * waveform), part.embed_windows(waveform), atol=1e-4, rtol=0
    )


def test_silence_is_a_point_like_any_other(part: MelodyEmbedding) -> None:
    vectors = part.embed_windows(torch.zeros(1, 1, 24_000))
    assert vectors.isfinite().all()
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(1))


def test_silence_has_finite_gradients(part: MelodyEmbedding) -> None:
    part(torch.zeros(1, 1, part.window_length)).sum().backward()
    gradients = [parameter.grad for parameter in part.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_every_weight_learns(part: MelodyEmbedding) -> None:
    vectors = part(melody(4.0, seed=0).waveform[None])
    (vectors * torch.randn(12)).sum().backward()
    for name, parameter in part.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("pitch", [48, 57, 69, 81, 96])
def test_a_tone_lies_in_the_band_of_its_pitch(part: MelodyEmbedding, pitch: int) -> None:
    waveform = tone(WINDOW_SECONDS, pitch=440 * 2 ** ((pitch - 69) / 12)).waveform[None]
    loudest = part.bands(waveform)[0].mean(dim=1).argmax()
    assert abs(int(loudest) - (pitch - LOWEST_PITCH) * BANDS_PER_SEMITONE) <= 1


def test_each_time_of_the_window_has_its_own_token(part: MelodyEmbedding) -> None:
    """A gradient of token i reaches the frames of token i in the first layer's input, and only those."""
    part.layers = torch.nn.ModuleList()  # attention looks everywhere
    bands = part.bands(melody(4.0, seed=0).waveform[None]).requires_grad_()
    flat = torch.autograd.functional.jacobian(lambda x: part.patches(_frames(part, x)).sum(dim=2), bands)
    reached = flat[0, :, 0].abs().sum(dim=1) > 0  # [S, T]
    for token, frames in enumerate(reached):
        first = token * part.frames_per_token
        assert frames.nonzero().flatten().tolist() == list(range(first, first + part.frames_per_token))


def _frames(part: MelodyEmbedding, bands: torch.Tensor) -> torch.Tensor:
    count = part.num_tokens * part.frames_per_token
    return bands[..., :count].transpose(1, 2).reshape(1, part.num_tokens, -1)


def test_heads_may_have_a_size_that_the_width_does_not_divide_into() -> None:
    paper = MelodyEmbedding(width=64, num_layers=1, num_heads=6, head_size=8, feed_forward=32)
    assert paper(torch.zeros(1, 1, paper.window_length)).shape == (1, 192)
    with pytest.raises(ValueError, match="give a head_size"):
        MelodyEmbedding(width=64, num_heads=6)


def test_the_default_size_is_small() -> None:
    assert sum(parameter.numel() for parameter in MelodyEmbedding().parameters()) < 2.5e6


@pytest.mark.parametrize(
    ("waveform", "hop", "expected"),
    [
        (torch.zeros(2, 1, 100), 3.0, "one recording"),
        (torch.zeros(1, 2, 100), 3.0, "mono"),
        (torch.full((1, 1, 100), math.nan), 3.0, "finite"),
        (torch.zeros(1, 1, 100), 0.0, "hop_seconds above 0"),
    ],
)
def test_what_cannot_be_embedded_is_refused(
    part: MelodyEmbedding, waveform: torch.Tensor, hop: float, expected: str
) -> None:
    with pytest.raises(ValueError, match=expected):
        part.embed_windows(waveform, hop_seconds=hop)


def test_a_kept_part_embeds_as_before(part: MelodyEmbedding, tmp_path: Path) -> None:
    words = "musiclm.tokenizers.melody.MelodyEmbedding"
    save_component(tmp_path, "melody_embedding", part, class_path=words, init_args=SIZES, storage="float32")
    waveform = melody(5.0, seed=1).waveform[None]
    assert torch.equal(load_component(tmp_path).embed_windows(waveform), part.embed_windows(waveform))
