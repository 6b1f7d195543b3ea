"""What the music is to be over time: the prompt's tokens, and those of what else it follows, as a melody.

A plain prompt is a schedule of one section, a story one of several (MusicLM, sec. 4.2), and what blends two
texts is only more sections, each of a second, whose embeddings lie between theirs.
"""

import math
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from musiclm.stages.layout import ABSENT, Segment
from musiclm.stages.streams import MUSIC
from musiclm.tokenizers.rvq import ResidualQuantizer

BLEND_STEP = 1.0  # seconds that a mixture of two texts lasts


@dataclass(frozen=True)
class ConditioningSchedule:
    """Conditions of every moment, in seconds from where new music begins.

    Args:
        starts: where the sections begin, ascending, the first 0.
        joint: tokens [1, 12, 1] of each section's joint embedding.
        codes: of other conditions, [1, levels, T] by stream at the stream's rate, or [N, levels, T] of N
            samples: of a melody [1, 24, W], the w-th of the seconds from 3 w on. Past their end there is
            none.
        codes_begin: where they begin, in seconds; before 0 where those of an audio prompt are known.
    """

    starts: tuple[float, ...]
    joint: tuple[Tensor, ...]
    codes: Mapping[str, Tensor] = field(default_factory=dict)
    codes_begin: float = 0.0

    @classmethod
    def of(
        cls,
        starts: Sequence[float],
        embeddings: Tensor,
        quantizer: ResidualQuantizer,
        *,
        blend: float = 0.0,
        codes: Mapping[str, Tensor] | None = None,
        codes_begin: float = 0.0,
    ) -> "ConditioningSchedule":
        """The schedule of sections with joint embeddings [sections, D], each going over into the next.

        Args:
            starts: of the sections, in seconds.
            embeddings: on the unit sphere.
            quantizer: makes tokens of them.
            blend: seconds from a section's start on over which the text goes over from the one before; 0
                switches.
            codes: of other conditions, by stream.
            codes_begin: where they begin, in seconds.
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
        return cls(tuple(start for start, _ in points), tuple(tokens.split(1)), codes or {}, codes_begin)

    def next_start(self, seconds: float) -> float:
        """Where the section after the one of a moment begins; infinite in the last."""
        index = bisect_right(self.starts, seconds + 1e-6)
        return self.starts[index] if index < len(self.starts) else math.inf

    def conditions(
        self, segments: Sequence[Segment], rows: int, *, moment: float, begin: float, length: float
    ) -> dict[str, Tensor]:
        """What a window is drawn under, [rows, levels, frames] by name.

        Conditions with a clock cover a window of full length, as in training, however much of it is drawn.

        Args:
            segments: the conditions of a stage or a denoiser.
            rows: of the batch.
            moment: of the first new frame; its section's words count for the whole window.
            begin: of the window, which may begin before what is new.
            length: of a full window, in seconds.
        """
        found = {"mulan": self._joint_at(moment).expand(rows, -1, -1)}
        for segment in segments:
            if segment.optional and segment.name not in ("mulan", *MUSIC):
                found[segment.name] = self._codes_of(segment, begin, length).expand(rows, -1, -1)
        return found

    def hop(self, segments: Sequence[Segment]) -> float:
        """Seconds of the longest frame of a condition that is there: windows begin where one does.

        0 where there are none but the prompt.
        """
        timed = [each for each in segments if each.name in self.codes and each.frame_rate]
        return max((1 / segment.frame_rate for segment in timed), default=0.0)

    def _joint_at(self, seconds: float) -> Tensor:
        """Tokens [1, 12, 1] of a moment's section."""
        return self.joint[max(bisect_right(self.starts, seconds + 1e-6) - 1, 0)]

    def _codes_of(self, segment: Segment, seconds: float, length: float) -> Tensor:
        """A condition's codes [1 or N, levels, frames] from a moment on; absent beyond its ends."""
        rate = segment.frame_rate
        nothing = torch.empty(1, segment.levels, 0, dtype=torch.int64, device=self.joint[0].device)
        first, count = 0, 1
        if rate:
            first, count = round((seconds - self.codes_begin) * rate), math.ceil(length * rate - 1e-6)
        before = min(max(-first, 0), count)
        codes = self.codes.get(segment.name, nothing)[..., max(first, 0) : max(first + count, 0)]
        return functional.pad(codes, (before, count - before - codes.shape[2]), value=ABSENT)
