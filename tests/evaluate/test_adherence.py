"""Adherence: the prompts that ship are fit for it, and the command fails when a line falls short."""

from pathlib import Path

import pytest
import torch
import yaml

from musiclm.audio import Audio
from musiclm.evaluate.adherence import PROMPTS
from tests.tiny import melody


def test_there_are_twenty_varied_prompts_and_pairs_that_differ() -> None:
    prompts = yaml.safe_load(Path(PROMPTS).read_text(encoding="utf-8"))
    assert len(set(prompts["varied"])) == 20
    for name in ("drums", "fast"):
        assert len(prompts[name]) >= 8
        assert all(len(set(pair)) == 2 for pair in prompts[name])


def test_the_command_fails_where_a_line_falls_short(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from musiclm.evaluate import adherence as module

    class Deaf:
        """A model that makes the same silence of every prompt."""

        device = torch.device("cpu")

        def __init__(self) -> None:
            self.joint_embedding = self

        def generate(self, prompt: str, *, seconds: float, seed: int) -> Audio:
            return melody(seconds, seed=0)

        def embed_audio(self, waveform: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(waveform), 4) / 2

        def embed_text(self, texts: list[str]) -> torch.Tensor:
            return torch.ones(len(texts), 4) / 2

    monkeypatch.setattr(module.MusicLM, "from_pretrained", lambda bundle, device: Deaf())
    with pytest.raises(SystemExit) as stop:
        module.adherence(seconds=2.0)
    assert stop.value.code == 1
    assert "SHORT 0.00" in capsys.readouterr().out
