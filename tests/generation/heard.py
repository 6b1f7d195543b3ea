"""What tests of the forms of generation watch and compare."""

from typing import Any

import pytest
import torch
from torch import Tensor

from musiclm import MusicLM
from musiclm.stages import native
from musiclm.stages.stage import Stage


class Heard:
    """What every call of a stage was asked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from musiclm.generation import semantic_sampler, token_decoder

        draw = semantic_sampler.sample_codes
        self.calls: list[tuple[str, dict[str, Tensor | None], int, int]] = []

        def record(stage: Stage, conditions: dict[str, Tensor | None], **values: Any) -> Tensor:
            known = 0 if values.get("prompt") is None else values["prompt"].shape[2]
            self.calls.append((stage.layout.target.name, conditions, known, values["frames"]))
            return draw(stage, conditions, **values)

        for module in (semantic_sampler, token_decoder):
            monkeypatch.setattr(module, "sample_codes", record)

    def of(self, name: str) -> list[tuple[dict[str, Tensor | None], int, int]]:
        return [call[1:] for call in self.calls if call[0] == name]


def assert_takes_are_what_they_are_alone(model: MusicLM, *, num: int = 3, **asked: Any) -> None:
    """Bit by bit; without the compiled step, products of several rows round otherwise."""
    takes = model.variations(num=num, seed=5, **asked)
    assert len(takes) == num
    for number, take in enumerate(takes):
        alone = model.generate(seed=5 + number, **asked).waveform
        if native.available():
            assert torch.equal(take.waveform, alone)
        else:
            torch.testing.assert_close(take.waveform, alone, atol=1e-4, rtol=0)
    assert not torch.equal(takes[0].waveform, takes[1].waveform)
