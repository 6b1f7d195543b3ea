"""Semantic tokens of a piece, window by window (MusicLM, sec. 4.2).

They are drawn when they are needed and no earlier, in windows that carry on from the last tokens of the one
before (in the paper 30 s, of which 15 s are carried on). So a window costs the same wherever it stands, and
only the tokens, 25 a second, are kept.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from musiclm.generation.conditioning import ConditioningSchedule
from musiclm.generation.settings import SemanticSettings
from musiclm.generation.windows import OnProgress, WindowSchedule, counting
from musiclm.stages.decoding import sample_codes
from musiclm.stages.stage import Stage

OnSemantic = Callable[[Tensor], None]


class SemanticTokens(Protocol):
    """Semantic tokens of N samples, or of one for all of them, made as they are asked for."""

    @property
    def frame_rate(self) -> float:
        """Tokens per second."""

    @property
    def known(self) -> int:
        """How many of them are the audio prompt's; those after them are new."""

    def first(self, count: int) -> Tensor:
        """The first `count` tokens [N or 1, 1, count], fewer where the music ends before."""


@dataclass(frozen=True)
class GivenTokens:
    """Tokens [1, 1, T] that are there already."""

    tokens: Tensor
    frame_rate: float
    known: int = 0

    def first(self, count: int) -> Tensor:
        """The first `count` of them."""
        return self.tokens[:, :, :count]


class SemanticSampler:
    """Draws the semantic tokens of a piece under its conditioning schedule.

    Args:
        stage: the semantic stage.
        settings: how it is sampled.
        schedule: what the piece is to be.
        new: tokens that are to be drawn.
        generators: the source of each row's randomness.
        prefix: tokens [1, 1, T] of the audio prompt that they go on from.
        on_progress: called as the stage advances.
        on_semantic: called with new tokens [rows, 1, t], on the CPU.
    """

    def __init__(
        self,
        stage: Stage,
        settings: SemanticSettings,
        schedule: ConditioningSchedule,
        *,
        new: int,
        generators: Sequence[torch.Generator],
        prefix: Tensor | None = None,
        on_progress: OnProgress,
        on_semantic: OnSemantic | None = None,
    ) -> None:
        self.stage = stage
        self.settings = settings
        self.schedule = schedule
        self.generators = generators
        self.on_progress = on_progress
        self.on_semantic = on_semantic
        self.frame_rate = stage.layout.target.frame_rate
        self.windows = WindowSchedule.of(
            settings.window,
            settings.window - settings.stride,
            self.frame_rate,
            hop=schedule.hop(stage.layout.conditions),
        )
        if prefix is None:
            prefix = torch.empty(1, 1, 0, dtype=torch.int64, device=stage.embedding.weight.device)
        self.tokens = prefix.expand(len(generators), -1, -1)
        self.known = prefix.shape[2]
        self.total = self.known + new

    def first(self, count: int) -> Tensor:
        """The first `count` tokens [rows, 1, count], or all that there are to be."""
        while self.tokens.shape[2] < min(count, self.total):
            self._draw()
        return self.tokens[:, :, :count]

    def _guidance_by(self, conditions: Mapping[str, Tensor | None]) -> dict[str, float]:
        """The scales of single conditions that there are: guiding by what is absent changes nothing."""
        return {
            name: scale
            for name, scale in self.settings.guidance_by.items()
            if (codes := conditions.get(name)) is not None and bool((codes >= 0).any())
        }

    def _draw(self) -> None:
        """One more window, or what is left of a section."""
        done = self.tokens.shape[2]
        start, end = self.windows.window(done)
        moment = (done + 0.5 - self.known) / self.frame_rate  # its middle says which section a token is of
        end = min(end, self.total)
        if (border := self.schedule.next_start(moment)) < math.inf:
            end = min(end, self.known + math.ceil(border * self.frame_rate - 0.5))
        prompt = self.tokens[:, :, start:]
        conditions = self.schedule.conditions(
            self.stage.layout.conditions,
            len(self.generators),
            moment=moment,
            begin=(start - self.known) / self.frame_rate,
            length=self.windows.length / self.frame_rate,
        )
        drawn = sample_codes(
            self.stage,
            conditions,
            frames=end - start,
            prompt=prompt if prompt.shape[2] else None,
            temperature=self.settings.temperature,
            top_k=self.settings.top_k,
            guidance=self.settings.guidance,
            guidance_by=self._guidance_by(conditions),
            generator=self.generators,
            on_step=counting(self.on_progress, "semantic", done - self.known, self.total - self.known),
        )
        new = drawn[:, :, done - start :]
        self.tokens = torch.cat([self.tokens, new], dim=2)
        if self.on_semantic is not None:
            self.on_semantic(new.cpu())
