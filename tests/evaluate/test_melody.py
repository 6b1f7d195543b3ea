"""How well a tune finds itself: 1 for ears that know it, chance for those that do not, a report of both."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from musiclm.bundle import save_component
from musiclm.cli import main
from musiclm.data.melody_windows import QUERIES
from musiclm.evaluate.melody import measure
from musiclm.tokenizers.melody import MelodyEmbedding
from tests.tiny import folder_of_melodies

SIZES = {"dimension": 8, "width": 16, "num_layers": 1, "num_heads": 2, "feed_forward": 16}


class Knowing(nn.Module):
    """Hears the number that its first sample is."""

    def forward(self, waveform: Tensor) -> Tensor:
        return nn.functional.one_hot(waveform[:, 0, 0].long(), 20).float()


class Deaf(nn.Module):
    def forward(self, waveform: Tensor) -> Tensor:
        return torch.ones(len(waveform), 20) / 20**0.5


def test_who_knows_finds_all_and_who_hears_nothing_finds_none() -> None:
    windows = [torch.full((1 + len(QUERIES), 1, 4), float(number)) for number in range(20)]
    assert set(measure(Knowing(), windows)) == set(QUERIES)
    assert all(row["recall_1"] == 1 for row in measure(Knowing(), windows).values())
    assert all(row["recall_1"] == 0 for row in measure(Deaf(), windows).values())


def test_the_command_prints_a_table_and_writes_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of_melodies(tmp_path / "melodies", 8)
    words = "musiclm.tokenizers.melody.MelodyEmbedding"
    part = MelodyEmbedding(8, width=16, num_layers=1, num_heads=2, feed_forward=16)
    save_component(
        tmp_path / "part", "melody_embedding", part, class_path=words, init_args=SIZES, storage="float32"
    )
    out = tmp_path / "melody.json"
    arguments = ["--melodies", str(folder), "--melody", str(tmp_path / "part"), "--out", str(out)]
    main(["evaluate", "melody", *arguments, "--windows", "3"])
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == str(out)
    assert "recall@1" in printed[1]
    report = json.loads(out.read_text())
    assert report["windows"] == 3
    assert set(report["retrieval"]) == set(QUERIES)


def test_one_window_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "melody", "--melodies", str(tmp_path), "--windows", "1"])
    assert stop.value.code == 2
    assert "2 windows or more" in capsys.readouterr().err
