"""`musiclm tokenize` and its processes: what they cannot load is said, and a GPU has one."""

from pathlib import Path

import pytest
import torch

import musiclm.data.tokenize
from musiclm.cli import main
from musiclm.data.tokenize import Tokenizers
from musiclm.machine.executors import LocalProcesses
from tests.data.tokenizing import Levels, fails
from tests.tiny import folder_of_tones


def test_tokenizers_that_cannot_be_loaded_are_the_reason_given(
    tmp_path: Path, semantic: Levels, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(bundle: Path, device: str) -> Tokenizers:
        raise ImportError("libsndfile.so.1: cannot open shared object file")

    monkeypatch.setattr(musiclm.data.tokenize, "_tokenizers", broken)
    line = fails(capsys, tmp_path / "tokens", folder_of_tones(tmp_path / "music", 1, seconds=0.4))
    assert "cannot be loaded: ImportError: libsndfile.so.1" in line


def test_a_gpu_has_one_process_however_many_were_asked_for(
    tmp_path: Path, semantic: Levels, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[int] = []

    def in_this_process(ray: str | None, workers: int, *, gpus: bool) -> LocalProcesses:
        asked.append(workers)
        return LocalProcesses(1)

    monkeypatch.setattr(musiclm.data.tokenize, "choose_device", torch.device)
    monkeypatch.setattr(musiclm.data.tokenize, "choose_executor", in_this_process)
    music = folder_of_tones(tmp_path / "music", 2, seconds=0.4)
    for number, workers in enumerate(("0", "3")):
        words = ["tokenize", str(music), "--workers", workers, "--device", "cuda:0"]
        main([*words, "--out", str(tmp_path / f"tokens{number}")])
        assert ("one process on cuda:0, not 3" in capsys.readouterr().err) == (workers == "3")
    assert asked == [1, 1]
