"""What the music is to be over time: the prompt's tokens and, where it follows a melody, the melody's.

A plain prompt is a schedule of one section, a story one of several (MusicLM, sec. 4.2), and what blends two
texts is only more sections, each of a second, whose embeddings lie between theirs.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from musiclm.stages.layout import ABSENT
from musiclm.stages.melody import HOP_SECONDS
from musiclm.stages.stage import Stage
from musiclm.tokenizers.rvq import ResidualQuantizer

BLEND_STEP = 1.0  # seconds that a mixture of two texts lasts


@dataclass(frozen=True)
class ConditioningSchedule:
    """Conditions of every moment, in seconds from where new music begins.

    Args:
        starts: where the sections begin, ascending, the first 0.
        joint: tokens [1, 12, 1] of each section's joint embedding.
        melody: codes [1, 24, W], the w-th of the seconds from 3 w on; None without a melody.
    """

    starts: tuple[float, ...]
    joint: tuple[Tensor, ...]
    melody: Tensor | None = None

    @classmethod
    def of(
        cls,
        starts: Sequence[float],
        embeddings: Tensor,
        quantizer: ResidualQuantizer,
        *,
        blend: float = 0.0,
        melody: Tensor | None = None,
    ) -> "ConditioningSchedule":
        """The schedule of sections with joint embeddings [sections, D], each going over into the next.

        Args:
            starts: of the sections, in seconds.
            embeddings: on the unit sphere.
            quantizer: makes tokens of them.
            blend: seconds from a section's start on over which the text goes over from the one before; 0
                switches.
            melody: codes [1, 24, W].
        """
        points = [(starts[0], embeddings[0])]
        for index in range(1, len(starts)):
            before, after = embeddings[index - 1], embeddings[index]
            room = (starts[index + 1] if index + 1 < len(starts) else math.inf) - starts[index]
            steps = math.ceil(min(blend, room) / BLEND_STEP)
            for step in range(steps):
                mixed = torch.lerp(before, after, (step + 1) / (steps + 1))
                points.append((starts[index] + step * BLEND_STEP, functional.normalize(mixed, dim=-1)))
            if steps * BLEND_STEP < room:
                points.append((starts[index] + steps * BLEND_STEP, after))
        tokens = quantizer.encode(torch.stack([point for _, point in points]))[..., None]  # [points, 12, 1]
        return cls(tuple(start for start, _ in points), tuple(tokens.split(1)), melody)

    def next_start(self, seconds: float) -> float:
        """Where the section after the one of a moment begins; infinite in the last."""
        index = bisect_right(self.starts, seconds + 1e-6)
        return self.starts[index] if index < len(self.starts) else math.inf

    def conditions(
        self, stage: Stage, rows: int, *, moment: float, begin: float, length: float
    ) -> dict[str, Tensor | None]:
        """What a stage draws a window under, [rows, levels, frames] by name.

        The melody's codes cover a window of full length, as in training, however much of it is drawn.

        Args:
            stage: whose conditions are wanted.
            rows: of the batch.
            moment: of the first new frame; its section's words count for the whole window.
            begin: of the window, which may begin before what is new.
            length: of a full window, in seconds.
        """
        found: dict[str, Tensor | None] = {"mulan": self._joint_at(moment).expand(rows, -1, -1)}
        for segment in stage.layout.conditions:
            if segment.name == "melody":
                found["melody"] = self._melody_from(begin, length, segment.levels).expand(rows, -1, -1)
        return found

    def _joint_at(self, seconds: float) -> Tensor:
        """Tokens [1, 12, 1] of a moment's section."""
        return self.joint[max(bisect_right(self.starts, seconds + 1e-6) - 1, 0)]

    def _melody_from(self, seconds: float, length: float, levels: int) -> Tensor:
        """Melody codes [1, levels, ceil(length / 3)] from a moment of the 3 s grid; absent past its end."""
        first, count = round(seconds / HOP_SECONDS), math.ceil(length / HOP_SECONDS - 1e-6)
        device = self.joint[0].device
        nothing = torch.empty(1, levels, 0, dtype=torch.int64, device=device)
        codes = (nothing if self.melody is None else self.melody)[..., first : first + count]
        return functional.pad(codes, (0, count - codes.shape[2]), value=ABSENT)
