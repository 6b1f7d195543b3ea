"""Adherence: the measures order what they should, and the command fails when a line falls short."""

from pathlib import Path

import pytest
import torch
import yaml

from musiclm.audio import Audio
from musiclm.evaluate.adherence import PROMPTS, onset_strength, pulse_rate, superiority


def clicks(beats_per_minute: float, *, seconds: float = 8.0, level: float = 0.5) -> Audio:
    """Bursts of noise on every beat over a soft tone."""
    time = torch.arange(round(seconds * 24_000)) / 24_000
    waveform = 0.1 * torch.sin(2 * torch.pi * 220 * time)
    period = 60.0 / beats_per_minute
    envelope = torch.exp(-(time % period) * 60)
    return Audio((waveform + level * envelope * torch.randn(len(time)) * 0.3)[None].clamp(-1, 1), 24_000)


def test_drums_raise_the_onset_strength() -> None:
    assert onset_strength(clicks(120)) > 2 * onset_strength(clicks(120, level=0.0))


def test_the_pulse_rate_follows_the_beat() -> None:
    rates = [pulse_rate(clicks(bpm)) for bpm in (60, 75, 100, 150)]
    assert rates == sorted(rates)
    assert rates[3] > 1.1 * rates[0]


def test_superiority_is_the_share_of_pairs_won() -> None:
    assert superiority([3, 4], [1, 2]) == 1.0
    assert superiority([1, 2], [3, 4]) == 0.0
    assert superiority([1, 1], [1, 1]) == 0.5
    assert superiority([1, 3], [2, 2]) == 0.5


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
            return clicks(100, seconds=seconds)

        def embed_audio(self, waveform: torch.Tensor) -> torch.Tensor:
            return torch.ones(len(waveform), 4) / 2

        def embed_text(self, texts: list[str]) -> torch.Tensor:
            return torch.ones(len(texts), 4) / 2

    monkeypatch.setattr(module.MusicLM, "from_pretrained", lambda bundle, device: Deaf())
    with pytest.raises(SystemExit) as stop:
        module.adherence(seconds=2.0)
    assert stop.value.code == 1
    assert "SHORT 0.00" in capsys.readouterr().out
