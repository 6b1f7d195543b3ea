"""Codes of a piece, window by window: semantic, coarse, fine (MusicLM, sec. 4.2).

Everything is drawn when it is needed and no earlier. A block of coarse codes asks for the semantic tokens
that it covers; those are drawn in windows that carry on from the last tokens of the one before (in the paper
30 s, of which 15 s are carried on), the block itself in a window that carries on from the last frames, and
its fine codes in short windows side by side. So the first block comes early, a window costs the same wherever
it stands, and only the semantic tokens, 25 a second, are kept.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from musiclm.course import Course
from musiclm.settings import GenerationSettings
from musiclm.stages.decoding import generate as sample
from musiclm.stages.melody import HOP_SECONDS
from musiclm.stages.stage import Stage

# Called with the name of what is being made, how much of it is done, and how much there is.
OnProgress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Grid:
    """Where windows begin and end, in frames.

    Args:
        length: of a window.
        carry: frames before the new ones that a window begins with.
        step: windows begin at multiples of it.
    """

    length: int
    carry: int
    step: int = 1

    @classmethod
    def of(cls, window: float, carry: float, rate: float, *, unit: int = 1, melody: bool = False) -> "Grid":
        """The grid of seconds on a clock of `rate` Hz, in whole `unit`s.

        With a melody, what is new in a window is shortened to a multiple of its hop, so that windows begin
        where a melody code does.

        Raises:
            ValueError: windows are too short to carry anything on, or to add anything.
        """
        length = round(window * rate / unit) * unit
        kept = round(carry * rate / unit) * unit
        if not 0 < kept < length:
            raise ValueError(
                f"expected windows that carry on some frames of {rate:g} Hz and add some, got {carry:g} of "
                f"{window:g} s: change the bundle's settings"
            )
        if not melody:
            return cls(length, kept, unit)
        step = round(HOP_SECONDS * rate)
        new = max((length - kept) // step, 1) * step
        if new >= length:
            raise ValueError(
                f"expected windows longer than {HOP_SECONDS:g} s to follow a melody, got {window:g} s: "
                "change the bundle's settings"
            )
        return cls(length, length - new, step)

    def window(self, done: int) -> tuple[int, int]:
        """First frame and end of the window that goes on from frame `done`.

        The very first ends where the second begins to be new: it is the beginning of the same window, drawn
        ahead of the rest.
        """
        if done == 0:
            return 0, self.carry
        start = max(-(-(done - self.carry) // self.step) * self.step, 0)
        start = min(start, done // self.step * self.step)  # where less than a step is carried
        return start, start + self.length


@dataclass(frozen=True)
class Known:
    """What there is before new music begins: tokens of the end of a clip.

    Args:
        semantic: tokens [1, 1, T].
        acoustic: codes [1, Q, T'] of the same time.
        waveform: [1, 1, T' * hop_length], what they are the codes of.
    """

    semantic: Tensor
    acoustic: Tensor
    waveform: Tensor


class Takes:
    """N takes of a piece on their way from its course to acoustic codes.

    Args:
        semantic, coarse, fine: the stages.
        settings: how they are sampled.
        course: what the piece is to be.
        frames: of the acoustic clock that are to be made.
        generators: the source of each take's randomness.
        one_course: all takes share the semantic tokens that the first one's generator draws.
        known: what they go on from.
        given: semantic tokens [1, 1, T] of the whole piece, where they are not to be drawn.
        on_progress: called as the stages advance.
        on_semantic: called with new semantic tokens [N or 1, 1, t], before any sound is made of them.
    """

    def __init__(
        self,
        semantic: Stage,
        coarse: Stage,
        fine: Stage,
        *,
        settings: GenerationSettings,
        course: Course,
        frames: int,
        generators: Sequence[torch.Generator],
        one_course: bool = False,
        known: Known | None = None,
        given: Tensor | None = None,
        on_progress: OnProgress,
        on_semantic: Callable[[Tensor], None],
    ) -> None:
        self.semantic, self.coarse, self.fine = semantic, coarse, fine
        self.settings = settings
        self.course = course
        self.generators = generators
        self.drawing = generators[:1] if one_course else generators  # those of the semantic tokens
        self.on_progress = on_progress
        self.on_semantic = on_semantic
        self.token_rate = semantic.layout.target.frame_rate
        self.frame_rate = coarse.layout.target.frame_rate
        self.ratio = round(self.frame_rate / self.token_rate)  # windows begin where a semantic token does
        has_melody = course.melody is not None
        self.token_grid = Grid.of(
            settings.semantic_window,
            settings.semantic_window - settings.semantic_stride,
            self.token_rate,
            melody=has_melody,
        )
        self.frame_grid = Grid.of(
            settings.coarse_window,
            settings.coarse_carry,
            self.frame_rate,
            unit=self.ratio,
            melody=has_melody,
        )
        rows = len(self.drawing)
        self.tokens = torch.empty(rows, 1, 0, dtype=torch.int64)
        self.codes = torch.empty(len(generators), coarse.layout.target.levels, 0, dtype=torch.int64)
        if known is not None:
            self.tokens = known.semantic.expand(rows, -1, -1)
            self.codes = known.acoustic[:, : self.codes.shape[1]].expand(len(generators), -1, -1)
        self.tokens_before, self.frames_before = self.tokens.shape[2], self.codes.shape[2]
        self.frames = self.frames_before + frames
        self.total_tokens = self.tokens_before + math.ceil(frames / self.ratio)
        if given is not None:
            self.tokens = given

    def blocks(self) -> Iterator[Tensor]:
        """Acoustic codes [N, Q, t] of the new music, block after block."""
        done, recent = self.frames_before, self.codes
        while done < self.frames:
            start, end = self.frame_grid.window(done)
            end = min(end, self.frames)
            kept = done - start
            recent = self._coarse(recent[:, :, recent.shape[2] - kept :], start, end)  # [N, 4, end - start]
            new = recent[:, :, kept:]
            yield torch.cat([new, self._fine(new, done)], dim=1)
            done = end

    def _coarse(self, prompt: Tensor, start: int, end: int) -> Tensor:
        """Coarse codes [N, 4, end - start] that go on from `prompt` [N, 4, T], the first of them."""
        done = start + prompt.shape[2]
        first = start // self.ratio
        last = first + math.ceil((end - start) / self.ratio) + self.coarse.layout.lookahead
        self._draw_tokens(last)
        rows = len(self.generators)
        before = self.frames_before
        return sample(
            self.coarse,
            {
                **self._conditions(
                    self.coarse,
                    rows,
                    moment=(done - before) / self.frame_rate,
                    begin=(start - before) / self.frame_rate,
                    length=self.frame_grid.length / self.frame_rate,
                ),
                "semantic": self.tokens[:, :, first:last].expand(rows, -1, -1),
            },
            frames=end - start,
            prompt=prompt if prompt.shape[2] else None,
            temperature=self.settings.coarse_temperature,
            top_k=self.settings.coarse_top_k,
            guidance=self.settings.coarse_guidance,
            generator=self.generators,
            on_step=_counting(self.on_progress, "coarse", done - before, self.frames - before),
        )

    def _draw_tokens(self, needed: int) -> None:
        """Have the first `needed` semantic tokens, or all there are to be."""
        before, rows = self.tokens_before, len(self.drawing)
        while (done := self.tokens.shape[2]) < min(needed, self.total_tokens):
            start, end = self.token_grid.window(done)
            moment = (done + 0.5 - before) / self.token_rate  # its middle says which part a token is of
            end = min(end, self.total_tokens)
            if (border := self.course.next_start(moment)) < math.inf:
                end = min(end, before + math.ceil(border * self.token_rate - 0.5))
            prompt = self.tokens[:, :, start:]
            piece = sample(
                self.semantic,
                self._conditions(
                    self.semantic,
                    rows,
                    moment=moment,
                    begin=(start - before) / self.token_rate,
                    length=self.token_grid.length / self.token_rate,
                ),
                frames=end - start,
                prompt=prompt if prompt.shape[2] else None,
                temperature=self.settings.semantic_temperature,
                top_k=self.settings.semantic_top_k,
                guidance=self.settings.semantic_guidance,
                generator=self.drawing,
                on_step=_counting(self.on_progress, "semantic", done - before, self.total_tokens - before),
            )
            new = piece[:, :, done - start :]
            self.tokens = torch.cat([self.tokens, new], dim=2)
            self.on_semantic(new)

    def _conditions(
        self, stage: Stage, rows: int, *, moment: float, begin: float, length: float
    ) -> dict[str, Tensor | None]:
        """What a window is drawn under: the words of the moment where its new frames begin, and its melody.

        The melody's codes cover a window of full length, as in training, however much of it is drawn.
        """
        conditions: dict[str, Tensor | None] = {"mulan": self.course.mulan_at(moment).expand(rows, -1, -1)}
        for segment in stage.layout.conditions:
            if segment.name == "melody":
                melody = self.course.melody_from(begin, length, segment.levels)
                conditions["melody"] = melody.expand(rows, -1, -1)
        return conditions

    def _fine(self, coarse: Tensor, done: int) -> Tensor:
        """Fine codes [N, 8, t] for coarse codes [N, 4, t]: windows of equal length in one batch."""
        rows, _, total = coarse.shape
        window = min(round(self.settings.fine_window * self.frame_rate), total)
        starts = [min(start, total - window) for start in range(0, total, window)]  # the last may overlap
        ahead = self.fine.layout.lookahead  # frames beyond a window; past the end, the last one stands still
        seen = torch.cat([coarse, coarse[:, :, -1:].expand(-1, -1, ahead)], dim=2)
        windows = torch.stack([seen[:, :, start : start + window + ahead] for start in starts], dim=1)
        made, all_frames = done - self.frames_before, self.frames - self.frames_before
        fine = sample(
            self.fine,
            {"coarse": windows.flatten(0, 1)},  # a take's windows beside each other
            frames=window,
            temperature=self.settings.fine_temperature,
            generator=self.generators,
            on_step=_counting(self.on_progress, "fine", made, all_frames),
        ).unflatten(0, (rows, len(starts)))  # [N, windows, 8, window]
        self.on_progress("fine", made + total, all_frames)
        overlap = len(starts) * window - total
        return torch.cat([*fine[:, :-1].unbind(dim=1), fine[:, -1, :, overlap:]], dim=2)


def _counting(on_progress: OnProgress, stage: str, before: int, total: int) -> Callable[[int], None]:
    """What a stage calls with the frames it has begun, `before` having been made by earlier windows."""
    return lambda step: on_progress(stage, min(before + step, total), total)
