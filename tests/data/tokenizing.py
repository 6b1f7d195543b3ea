"""What tests of `musiclm tokenize` share: tokenizers that tell recordings apart, and the command."""

import os
from pathlib import Path
from typing import Any

import pyarrow.parquet
import pytest
import torch
from torch import Tensor

from musiclm.cli import main
from musiclm.data.sources.corpus_table import TABLE_NAME
from musiclm.data.store import TokenStore
from tests.tiny import SAMPLE_RATE, tone

SECONDS = 2.0  # of a labelled recording
LABELS: dict[str, Any] = {
    "tempo": 120.0, "beats_per_bar": 3, "tonic": 9, "mode": "minor", "drums": True,
    "chords": [{"start": 0.0, "root": 9, "quality": "minor"}, {"start": 1.0, "root": 4, "quality": "major"}],
}  # fmt: skip


class Levels:
    """Tokens that tell recordings apart, by a sample of each frame: as a codec, and as semantic tokens."""

    sample_rate = SAMPLE_RATE
    codebook_size = 8
    num_quantizers = 3

    def __init__(self, frame_rate: int, levels: tuple[int, ...] = ()) -> None:
        self.frame_rate = float(frame_rate)
        self.levels = levels
        self.codebooks = torch.zeros(*(levels or (1,)), 8, 2)
        self.calls = 0
        self.refuses = -1  # which call raises

    def encode(self, waveform: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == self.refuses:
            raise RuntimeError("kernel size can't be greater than actual input size")
        hop = round(self.sample_rate / self.frame_rate)
        frames = torch.nn.functional.pad(waveform[0, 0], (0, -waveform.shape[2] % hop)).view(-1, hop)
        codes = (frames[:, 7].abs() * 997).long() % 8
        return codes.expand(1, *self.levels, -1)


def run(out: Path, *words: str | Path) -> TokenStore:
    main(["tokenize", *map(os.fspath, words), "--out", str(out), "--workers", "1"])
    return TokenStore(out)


def fails(capsys: pytest.CaptureFixture[str], out: Path, *words: str | Path) -> str:
    """The last line that a run says which exits with 2."""
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run(out, *words)
    assert stop.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def report(out: Path) -> dict[str, str]:
    """Reasons by path."""
    if not (out / "left_out.tsv").exists():
        return {}
    lines = (out / "left_out.tsv").read_text(encoding="utf-8").splitlines()[1:]
    return dict(line.split("\t") for line in lines)


def labelled(folder: Path, *labels: dict[str, Any]) -> Path:
    """A folder with a table of recordings."""
    folder.mkdir()
    rows = []
    for number, each in enumerate(labels):
        tone(SECONDS, pitch=220.0 + 10 * number).save(folder / f"{number}.wav")
        said = {"id": str(number), "path": f"{number}.wav", "split": "train", "captions": ["a tune"]}
        rows.append({**said, "licence": "CC0-1.0", "seconds": SECONDS, **each})
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / TABLE_NAME)
    return folder
