"""Exclusions: what the prompts are, and what the figures say of a model that understands or does not."""

import pytest
import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.bundle import Bundle
from musiclm.evaluate import negation as module
from musiclm.evaluate.negation import PLAIN, WITH, Exclusions, less, read_exclusions, share
from musiclm.generation.prompt_notices import lines_about
from musiclm.tokenizers.mulan import MuLan

PROMPTS = Exclusions(
    ["a calm tune", "a waltz"],
    ["{base}, no {thing}", "{base}, not {one}"],
    {"drums": "drums", "piano": "a piano"},
    ["flute"],
)


class Model:
    """Plays bursts of noise where it takes a prompt to ask for drums."""

    device = torch.device("cpu")

    def __init__(self, *, understands: bool) -> None:
        self.understands = understands
        self.joint_embedding = self
        self.sample_rate = 24_000

    def variations(self, prompt: str, *, num: int, seconds: float, seed: int) -> list[Audio]:
        excluded = self.understands and ("no " in prompt or "not " in prompt)
        torch.manual_seed(seed)
        takes = []
        for take in range(num):
            waveform = 0.01 * torch.rand(1, round(seconds * 24_000)) + 0.1 * (take == 1)
            if "drums" in prompt and not excluded:
                waveform = waveform + torch.randn_like(waveform) * (
                    torch.arange(waveform.shape[1]) % 6000 < 600
                )
            takes.append(Audio(waveform, 24_000))
        return takes

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.stack([torch.tensor([1.0, 0.0] if text == "piano" else [0.0, 1.0]) for text in texts])

    def embed_audio(self, waveform: Tensor) -> Tensor:
        return torch.stack([waveform.mean().clamp(0, 1), torch.tensor(0.0)])[None]


@pytest.mark.parametrize(("understands", "figure"), [(True, "1.00"), (False, "0.00")])
def test_a_model_that_hears_only_the_name_is_told_from_one_that_understands(
    understands: bool, figure: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(module, "read_exclusions", lambda: PROMPTS)
    model = Model(understands=understands)
    monkeypatch.setattr(module.MusicLM, "from_pretrained", lambda bundle, device: model)
    module.negation(seconds=1.0)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[0] for line in lines[1:]] == [
        "no drums", "not drums", "(drums unmentioned)", "no piano", "not a piano", "(piano unmentioned)"
    ]  # fmt: skip
    assert lines[1].split()[2] == figure


def test_an_interval_goes_with_every_share() -> None:
    assert less([1, 2, 3], [2, 2, 2]) == [True, False, False]
    assert share([True] * 5 + [False] * 5) == "0.50 (0.24-0.76)"


def test_every_prompt_that_ships_is_understood_word_by_word() -> None:
    prompts = read_exclusions()
    mulan: MuLan = Bundle.find("default").load("joint_embedding")
    texts = prompts.all_texts()
    assert len(texts) == len(set(texts)) == 12 * (1 + 3 * 4)
    assert prompts.texts("piano", WITH)[0] == "a calm melody with piano"
    assert prompts.texts("piano", prompts.forms[1])[0] == "a calm melody, not a piano"
    assert set(prompts.texts("drums", PLAIN)) <= set(texts)
    assert [text for text in texts if lines_about(text, mulan.reading(text))] == []
    assert not any(thing in base for thing in prompts.things for base in prompts.bases)
