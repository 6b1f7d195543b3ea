"""Recordings to tokens: melodies beside the others where the tokenizers have them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import Tensor

from musiclm.bundle import Bundle, merge, save_component
from musiclm.data.sources import Recording
from musiclm.data.stream_makers import (
    acoustic_codes,
    joint_embeddings,
    melody_embeddings,
    semantic_tokens,
)
from musiclm.data.tokenize import Tokenizers, tokenize
from musiclm.tokenizers.melody import MelodyEmbedding
from tests.tiny import folder_of_tones, melody, save_quantizer

SIZES = {"dimension": 6, "width": 8, "num_layers": 1, "num_heads": 2, "feed_forward": 8, "place_width": 2}


class Frames:
    """Tokens that only count frames, in the places of the codec and of w2v-BERT with k-means."""

    sample_rate = 24_000
    codebook_size = 8
    num_quantizers = 3
    codebooks = torch.zeros(1, 8, 2)

    def __init__(self, frame_rate: float, levels: tuple[int, ...] = ()) -> None:
        self.frame_rate = frame_rate
        self.levels = levels

    def encode(self, waveform: Tensor) -> Tensor:
        return torch.zeros(1, *self.levels, round(waveform.shape[2] / 24_000 * self.frame_rate))


def make_tokenizers(part: MelodyEmbedding | None) -> Tokenizers:
    mulan = SimpleNamespace(
        sample_rate=24_000, dimension=4, window_seconds=10.0, embed_windows=lambda waveform: torch.zeros(1, 4)
    )
    makers = [
        semantic_tokens(Frames(25.0)),  # type: ignore[arg-type]
        acoustic_codes(Frames(50.0, (3,))),  # type: ignore[arg-type]
        joint_embeddings(mulan),  # type: ignore[arg-type]
    ]
    return Tokenizers(makers if part is None else [*makers, melody_embeddings(part)])


@pytest.mark.parametrize("seconds", [2.0, 5.5])
def test_a_melody_is_a_window_every_second_of_the_recording(seconds: float, tmp_path: Path) -> None:
    part = MelodyEmbedding(**SIZES).eval()
    path, sound = tmp_path / "a.wav", melody(seconds, seed=0)
    sound.save(path)
    recording = Recording("a", path, seconds, "CC0-1.0", "train")
    tokenizers = make_tokenizers(part)
    row = tokenizers.tokenize(recording)
    assert row.streams["melody"].shape == (-(-seconds // 1), 6)
    assert row.streams["melody"].dtype == np.float16
    # Every third window is what a guide of three-second hops is embedded to; 16 bits in file and store.
    hops = part.embed_windows(sound.waveform[None]).numpy()
    np.testing.assert_allclose(row.streams["melody"][::3], hops, atol=2e-2)
    description = tokenizers.describe({})
    stream = description["melody"]
    assert (stream.size, stream.window, stream.rate, stream.hop) == (6, 4.0, 1.0, 3.0)

    plain = make_tokenizers(None)
    assert "melody" not in plain.tokenize(recording).streams
    assert "melody" not in [stream.name for stream in plain.describe({}).streams]


def test_a_melody_embedding_without_its_quantizer_is_refused(tmp_path: Path) -> None:
    part = MelodyEmbedding(**SIZES)
    class_path = "musiclm.tokenizers.melody.MelodyEmbedding"
    save_component(
        tmp_path / "melody",
        "melody_embedding",
        part,
        class_path=class_path,
        init_args=SIZES,
        storage="float32",
    )
    save_quantizer(tmp_path, "joint_quantizer", dimension=4, num_quantizers=2)
    merge([Bundle(tmp_path / name) for name in ("melody", "joint_quantizer")], tmp_path / "bundle", {})
    tones = folder_of_tones(tmp_path / "tones", 1)
    with pytest.raises(ValueError, match="expected both melody_embedding and melody_quantizer in") as caught:
        tokenize([tones], tmp_path / "tokens", str(tmp_path / "bundle"))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "tokens").exists()
