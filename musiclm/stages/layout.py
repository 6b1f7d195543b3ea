"""How a stage's codes become the steps of a decoder-only transformer, and back.

A `Layout` is an ordered list of `Segment`s; the last one is the target, the others condition it. Every
(segment, level) owns a range of ids, so that a token says by itself what it is (AudioLM, sec. III-C); one
more id, `blank`, stands where no code is, and an optional segment owns one for its absence.

The transformer reads P prefix steps, then N target steps. Target step n *predicts* the codes that are due
there and *reads* those that step n - 1 predicted (`blank` at step 0). Everything that differs between the two
patterns follows from one map, the step at which level q of frame t is predicted:

- `flatten` (MusicLM, sec. 3.2): step t * Q + q. One level per step, levels vary fastest, and every
  conditioning segment is flattened the same way into the prefix.
- `delay` (MusicGen's pattern): step t + q. One step per frame and one head per level; when level q of a frame
  is drawn, the lower levels of that frame are known. N = T + Q - 1.

In `delay`, a conditioning segment with a clock is not a prefix: it is laid *aligned*, its embedding for
frame t added to the step of frame t (a 25 Hz token serves two 50 Hz frames). That halves the steps, and it
leaves no alignment to be learned: T5's relative buckets are shared beyond 128 steps, so no bias can tell
the one token of a prefix 250 steps away that belongs to this frame from its neighbours. A step knows the
condition up to its own frame and `lookahead` frames of the condition's clock further; level q, being drawn
q steps later, sees q frames more. A condition whose frames span many steps (a melody window) is *unfolded*
before it is laid, so that each step is told what is due then; a step knows the frame that holds it, and none
later. Its ids begin at 0 and have a table of their own. With `broadcast`, the prefix (all of it without a
clock: the MuLan tokens) is also summed and added to every target step, so that the prompt need not be found
again by attention each time.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from musiclm.stages.conditions import Unfolding

Pattern = Literal["flatten", "delay"]

ABSENT = -1  # the code of an optional segment that is not there


@dataclass(frozen=True)
class Segment:
    """One stream of codes [B, levels, T].

    Args:
        name: the key of its codes among a stage's conditions.
        levels: residual levels, each with a codebook of its own.
        codebook_size: entries per level.
        frame_rate: frames per second; 0 means no clock (one embedding for the whole clip).
        optional: may be absent (conditioning dropout, classifier-free guidance).
        source: the key of its codes in a training batch, its own name unless given.
        first_level: which level of the source is its level 0.
        unfolding: for frames that span many steps, see `conditions.py` (`delay` only).
        combined: whether its levels mean something together, see `conditions.py` (`delay` only).
    """

    name: str
    levels: int
    codebook_size: int
    frame_rate: float
    optional: bool = False
    source: str | None = None
    first_level: int = 0
    unfolding: Unfolding | None = None
    combined: bool = False

    @property
    def key(self) -> str:
        """What its codes are called in a training batch."""
        return self.source or self.name

    @property
    def vocabulary_size(self) -> int:
        """Ids the segment owns: one range per level, and its absence."""
        return self.levels * self.codebook_size + int(self.optional)


@dataclass(frozen=True)
class Layout:
    """Segments, target last, and the pattern that turns them into steps.

    Args:
        segments: conditions in order, then the target.
        pattern: `flatten` or `delay`, see the module's docstring.
        lookahead: frames, on the condition's own clock, that aligned conditions are seen ahead (`delay`
            only); unfolded ones are not.
        broadcast: also add the summed prefix to every target step.

    Raises:
        ValueError: segments that do not make a layout.
    """

    segments: tuple[Segment, ...]
    pattern: Pattern = "delay"
    lookahead: int = 0
    broadcast: bool = False

    def __post_init__(self) -> None:
        names = [segment.name for segment in self.segments]
        if not names or len(set(names)) != len(names):
            raise ValueError(f"a layout needs segments with names of their own, got {names}")
        for segment in self.segments:
            if segment.levels < 1 or segment.codebook_size < 1 or segment.frame_rate < 0:
                raise ValueError(f"a segment needs levels, entries and no negative frame rate, got {segment}")
        if self.target.optional or self.target.frame_rate == 0:
            raise ValueError(f"the target needs a clock and cannot be optional, got {self.target}")
        if self.pattern not in ("flatten", "delay"):
            raise ValueError(f"pattern must be flatten or delay, got {self.pattern!r}")
        if self.lookahead < 0 or (self.lookahead and not self.aligned):
            raise ValueError(
                f"lookahead {self.lookahead} needs the delay pattern and a condition with a clock"
            )
        for segment in self.aligned:
            if not math.isclose(self.target.frame_rate / segment.frame_rate, self.ratio(segment)):
                raise ValueError(
                    f"{segment.name} at {segment.frame_rate:g} Hz cannot be aligned with {self.target.name} "
                    f"at {self.target.frame_rate:g} Hz: the ratio must be whole, or the pattern flatten"
                )

    @property
    def target(self) -> Segment:
        """The segment the stage generates."""
        return self.segments[-1]

    @property
    def conditions(self) -> tuple[Segment, ...]:
        """Every segment but the target."""
        return self.segments[:-1]

    def has_condition(self, name: str) -> bool:
        """Whether a segment of this name is among the conditions."""
        return any(segment.name == name for segment in self.conditions)

    @cached_property
    def aligned(self) -> tuple[Segment, ...]:
        """Conditions added to the target's steps, frame by frame."""
        if self.pattern == "flatten":
            return ()
        return tuple(segment for segment in self.conditions if segment.frame_rate > 0)

    @cached_property
    def unfolded(self) -> tuple[Segment, ...]:
        """Aligned conditions whose frames span many steps."""
        return tuple(segment for segment in self.aligned if segment.unfolding)

    @cached_property
    def prefix(self) -> tuple[Segment, ...]:
        """Conditions laid before the target, one step per level."""
        return tuple(segment for segment in self.conditions if segment not in self.aligned)

    @cached_property
    def offsets(self) -> dict[str, int]:
        """First id of each segment; level q of it begins at offset + q * codebook_size."""
        offsets, start = {segment.name: 0 for segment in self.unfolded}, 0
        for segment in self._sharing():
            offsets[segment.name] = start
            start += segment.vocabulary_size
        return offsets

    @cached_property
    def blank(self) -> int:
        """The id that stands where no code is."""
        return sum(segment.vocabulary_size for segment in self._sharing())

    @property
    def vocabulary_size(self) -> int:
        """All ids of the shared table, `blank` the last."""
        return self.blank + 1

    @property
    def columns(self) -> int:
        """K, tokens per target step: 1 when flattened, one per level when delayed."""
        return 1 if self.pattern == "flatten" else self.target.levels

    def absent(self, name: str) -> int:
        """The id that stands for the absence of the optional segment `name`."""
        segment = next(segment for segment in self.segments if segment.name == name)
        assert segment.optional
        return self.offsets[name] + segment.levels * segment.codebook_size

    def ratio(self, segment: Segment) -> int:
        """Target frames per frame of an aligned condition."""
        return round(self.target.frame_rate / segment.frame_rate)

    # Steps of the target

    def steps(self, frames: int) -> int:
        """N, target steps that predict `frames` frames."""
        levels = self.target.levels
        return frames * levels if self.pattern == "flatten" else frames + levels - 1

    def known_steps(self, frames: int) -> int:
        """The first step at which something is still to be predicted when `frames` frames are known."""
        return frames * self.target.levels if self.pattern == "flatten" else frames

    def frames_begun(self, step: int, frames: int) -> int:
        """How many of `frames` frames have at least one level predicted once `step` is done."""
        return step // self.target.levels + 1 if self.pattern == "flatten" else min(step + 1, frames)

    def due(self, step: int, frames: int, known: int = 0) -> range:
        """Levels to be predicted at `step` of `frames` frames of which the first `known` are given."""
        if self.pattern == "flatten":
            frame, level = divmod(step, self.target.levels)
            return range(level, level + 1) if known <= frame < frames else range(0)
        return range(max(0, step - frames + 1), min(self.target.levels, step - known + 1))

    def step_of(self, frames: int, device: torch.device | None = None) -> Tensor:
        """The step that predicts each code, [Q, T] int64: the map the whole pattern follows from."""
        level = torch.arange(self.target.levels, device=device)[:, None]
        frame = torch.arange(frames, device=device)[None, :]
        return frame * self.target.levels + level if self.pattern == "flatten" else frame + level

    def flatten(self, codes: Tensor) -> Tensor:
        """Target codes [B, Q, T] to tokens [B, N, K], `blank` where no code is due."""
        batch, levels, frames = codes.shape
        tokens = self._ids(self.target, codes)  # [B, Q, T]
        if self.pattern == "flatten":
            return tokens.transpose(1, 2).reshape(batch, frames * levels, 1)  # level varies fastest
        delayed = tokens.new_full((batch, self.steps(frames), levels), self.blank)
        for level in range(levels):
            delayed[:, level : level + frames, level] = tokens[:, level]
        return delayed

    def unflatten(self, tokens: Tensor) -> Tensor:
        """Tokens [B, N, K] back to target codes [B, Q, T]."""
        batch, steps, _ = tokens.shape
        levels = self.target.levels
        if self.pattern == "flatten":
            ids = tokens.reshape(batch, steps // levels, levels).transpose(1, 2)  # [B, Q, T]
        else:
            frames = steps - levels + 1
            ids = torch.stack([tokens[:, q : q + frames, q] for q in range(levels)], dim=1)  # [B, Q, T]
        return ids - self._level_offsets(self.target, tokens.device)

    def shift(self, tokens: Tensor) -> Tensor:
        """What each target step reads, [B, N, K]: the tokens of the step before, `blank` at the first."""
        start = tokens.new_full((tokens.shape[0], 1, tokens.shape[2]), self.blank)
        return torch.cat([start, tokens[:, :-1]], dim=1)

    # Conditions

    def prefix_tokens(
        self, codes: Mapping[str, Tensor], batch: int, device: torch.device | None = None
    ) -> Tensor:
        """Tokens [B, P] of the prefix segments, one after another, level varying fastest."""
        parts = [torch.empty(batch, 0, dtype=torch.int64, device=device)]
        for segment in self.prefix:
            ids = self._ids(segment, codes[segment.name])  # [B, levels, T]
            parts.append(ids.transpose(1, 2).reshape(batch, -1))
        return torch.cat(parts, dim=1)

    def aligned_tokens(self, segment: Segment, codes: Mapping[str, Tensor]) -> Tensor:
        """Tokens [B, T, levels] of an aligned condition, on its own clock."""
        return self._ids(segment, codes[segment.name]).transpose(1, 2)

    def pick(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Each segment's own levels of a training batch (name -> codes [B, levels, T]), cut to the same time.

        An optional source may be missing, or end early: there it is absent.

        Raises:
            ValueError: the batch lacks a source or has too few levels of it.
        """
        codes = {}
        for segment in self.segments:
            source, last = segment.key, segment.first_level + segment.levels
            if source not in batch and segment.optional:
                continue
            if source not in batch:
                raise ValueError(f"the batch needs {source!r} for {segment.name}, it has {sorted(batch)}")
            if batch[source].shape[1] < last:
                raise ValueError(
                    f"{segment.name} needs {last} levels of {source}, got {batch[source].shape[1]}"
                )
            codes[segment.name] = batch[source][:, segment.first_level : last]
        clocked = [segment for segment in self.segments if segment.frame_rate > 0 and segment.name in codes]
        rate = self.target.frame_rate
        frames = min(
            int(codes[s.name].shape[2] * rate / s.frame_rate + 1e-6) for s in clocked if not s.optional
        )
        for segment in clocked:
            codes[segment.name] = codes[segment.name][..., : self.frames_needed(segment, frames)]
        return codes

    def frames_needed(self, segment: Segment, frames: int) -> int:
        """Frames of a segment that cover `frames` frames of the target; 1 without a clock."""
        if not segment.frame_rate:
            return 1
        return math.ceil(frames * segment.frame_rate / self.target.frame_rate - 1e-6)

    def complete(
        self, codes: Mapping[str, Tensor], batch: int, frames: int, device: torch.device | None = None
    ) -> dict[str, Tensor]:
        """The codes with every optional condition, `ABSENT` where it is missing or has ended."""
        whole = dict(codes)
        for segment in self.conditions:
            if segment.optional:
                nothing = torch.empty(batch, segment.levels, 0, dtype=torch.int64, device=device)
                given = codes.get(segment.name, nothing)
                lacking = max(self.frames_needed(segment, frames) - given.shape[2], 0)
                whole[segment.name] = F.pad(given, (0, lacking), value=ABSENT)
        return whole

    def check_condition(
        self,
        segment: Segment,
        codes: Tensor | None,
        batch: int,
        frames: int,
        device: torch.device | None = None,
    ) -> Tensor:
        """A user's codes for one condition, ready to be laid: [B, levels, T], `ABSENT` where there is none.

        One that is optional and has a clock may end early; in a prefix it is taken as long as it is given, so
        that the beginning of a window has the prefix that the whole window has.

        Raises:
            ValueError: absent though not optional, or of another shape or range than the segment's.
        """
        needed = self.frames_needed(segment, frames)
        if codes is None:
            if not segment.optional:
                raise ValueError(f"{segment.name} is not optional, give its codes")
            return torch.full((batch, segment.levels, needed), ABSENT, device=device)
        least = 1 if segment.optional else needed
        shape = f"[{batch}, {segment.levels}, T >= {least}]"
        if codes.dim() != 3 or codes.shape[:2] != (batch, segment.levels) or codes.shape[2] < least:
            raise ValueError(
                f"{segment.name} must be codes {shape} for {frames} frames, got {list(codes.shape)}"
            )
        check_range(segment, codes, lowest=ABSENT if segment.optional else 0)
        cut = segment in self.unfolded or (segment in self.prefix and not segment.optional)
        if segment.frame_rate and cut:
            codes = codes[..., :needed]  # as long as in training; an aligned one may look further ahead
        return codes.to(device, torch.int64)

    def _sharing(self) -> list[Segment]:
        """Segments whose ids are those of the shared table."""
        return [segment for segment in self.segments if segment not in self.unfolded]

    def _level_offsets(self, segment: Segment, device: torch.device) -> Tensor:
        levels = torch.arange(segment.levels, device=device)
        return (self.offsets[segment.name] + levels * segment.codebook_size)[:, None]  # [levels, 1]

    def _ids(self, segment: Segment, codes: Tensor) -> Tensor:
        ids = codes + self._level_offsets(segment, codes.device)  # [B, levels, T]
        return torch.where(codes < 0, self.absent(segment.name), ids) if segment.optional else ids


def check_range(segment: Segment, codes: Tensor, *, lowest: int = 0) -> None:
    """Raise a ValueError unless all codes are integers in [lowest, codebook_size)."""
    if codes.is_floating_point() or codes.is_complex():
        raise ValueError(f"{segment.name} must be integer codes, got {codes.dtype}")
    if codes.numel() and (int(codes.min()) < lowest or int(codes.max()) >= segment.codebook_size):
        raise ValueError(
            f"codes of {segment.name} must lie in 0 ... {segment.codebook_size - 1}, "
            f"got {int(codes.min())} ... {int(codes.max())}"
        )
