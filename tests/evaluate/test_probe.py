"""Promises of the linear probes."""

from pathlib import Path
from typing import Any

import pytest
import soundfile
import torch

from musiclm.bundle import save_component
from musiclm.data.sources import Recording
from musiclm.evaluate.probe import chord_label, format_table, probe, semantic
from musiclm.tokenizers.kmeans import KMeans
from musiclm.tokenizers.w2v_bert import W2VBert, W2VBertTokens
from tests.tokenizers.tiny_codecs import spectral_codec

ROWS = ["chance", "log-mel", "layer 0", "layer 1", "layer 2", "tokens"]
CODEC_ROWS = ["acoustic, level 1", "acoustic, all levels"]
LABELS = ["chord", "key", "lead", "tempo", "drums", "genre"]


def test_the_chord_is_the_one_that_sounds() -> None:
    chords = [
        {"start": 1.0, "root": 7, "quality": "major7"},
        {"start": 2.0, "root": 9, "quality": "minor"},
        {"start": 3.0, "root": 11, "quality": "diminished"},
    ]
    found = [chord_label(chords, at) for at in (0.5, 1.0, 1.9, 2.5, 9.0)]
    assert found == [None, "7 major", "7 major", "9 minor", None]


def make_encoder() -> tuple[W2VBert, dict[str, Any]]:
    words: dict[str, Any] = {
        "num_layers": 2,
        "model_dim": 16,
        "num_heads": 2,
        "ffn_dim": 16,
        "conv_kernel": 3,
        "num_bert_layers": 1,
        "num_mels": 32,
        "num_codebook_entries": 4,
        "final_dim": 4,
        "window_seconds": 1.0,
        "overlap_seconds": 0.2,
    }
    torch.manual_seed(0)
    return W2VBert(**words).eval(), words


def make_corpus(folder: Path, count: int = 12) -> list[Recording]:
    """Two seconds of a low or a high tone; every label says which."""
    recordings = []
    for number in range(count):
        high = number % 2 == 1
        time = torch.arange(48_000) / 24_000
        waveform = torch.sin(2 * torch.pi * (2000 + number if high else 300 + number) * time) * 0.3
        path = folder / f"{number}.wav"
        soundfile.write(path, waveform.numpy(), 24_000)
        labels = {
            "chords": [{"start": 0.0, "root": int(high), "quality": "major"}],
            "tonic": int(high),
            "mode": "minor",
            "lead": "flute" if high else "tuba",
            "tempo": 150.0 if high else 70.0,
            "drums": high,
            "genre": "folk" if high else "jazz",
        }
        split = "valid" if number >= count - 4 else "train"
        recordings.append(Recording(str(number), path, 2.0, "CC0-1.0", split, (), labels))  # type: ignore[arg-type]
    return recordings


def test_the_table_shows_that_labels_are_heard_in_every_row(tmp_path: Path) -> None:
    encoder, _ = make_encoder()
    kmeans = KMeans(4, 16, layer=1)
    recordings = make_corpus(tmp_path)
    waveforms = torch.stack([torch.from_numpy(soundfile.read(r.path)[0]).float() for r in recordings[:2]])
    frames = encoder.features(waveforms[:, None], 1).detach()
    kmeans.centroids.copy_(torch.cat([frames[:, 10], frames[:, 30]]))
    table = probe(recordings, encoder, W2VBertTokens(encoder, kmeans), seconds=0.5, crops_per_recording=2)
    assert list(table) == ROWS
    assert all(list(cells) == LABELS for cells in table.values())
    assert all(value == 0.5 for value in table["chance"].values())
    assert all(table[row][label] == 1.0 for row in ROWS[1:] for label in LABELS)
    lines = format_table(table).splitlines()
    assert len(lines) == 1 + len(ROWS)
    assert lines[1].split() == ["chance", *["50.0"] * len(LABELS)]


def test_codes_stand_beside_the_tokens(tmp_path: Path) -> None:
    """Codebooks of what the codec makes of two of the tones: its codes tell low from high."""
    encoder, _ = make_encoder()
    codec, recordings = spectral_codec().eval(), make_corpus(tmp_path)
    waveforms = torch.stack([torch.from_numpy(soundfile.read(r.path)[0]).float() for r in recordings[:2]])
    latents = codec.encoder(waveforms[:, None]).detach()  # [2, D, T]
    codec.quantizer.codebooks.zero_()
    codec.quantizer.codebooks[0] = torch.cat([latents[:, :, 10 * n + 9] for n in range(1, 5)])
    table = probe(recordings, encoder, codec=codec, seconds=0.5, crops_per_recording=2)
    assert list(table) == [row for row in ROWS if row != "tokens"] + CODEC_ROWS
    assert all(table[row][label] == 1.0 for row in CODEC_ROWS for label in LABELS)


def test_recordings_without_labels_are_refused(tmp_path: Path) -> None:
    encoder, words = make_encoder()
    part = tmp_path / "part"
    name = "musiclm.tokenizers.w2v_bert.W2VBert"
    save_component(part, "semantic_encoder", encoder, class_path=name, init_args=words, storage="float32")
    audio = tmp_path / "audio"
    audio.mkdir()
    soundfile.write(audio / "a.wav", torch.zeros(2400).numpy(), 24_000)
    with pytest.raises(ValueError, match="expected a labelled corpus"):
        semantic(audio, w2v_bert=part)


def test_recordings_of_one_split_are_refused(tmp_path: Path) -> None:
    encoder, _ = make_encoder()
    with pytest.raises(ValueError, match="none of 'valid'"):
        probe(make_corpus(tmp_path)[:4], encoder, seconds=0.5)
