"""The course of new music, from what a request says: its beats, keys, chords and drums, as codes.

For each section the values are those that the user gives, then those that its words name, then those of the
section before, which a piece keeps as long as nobody says otherwise. From them and the words the planner
draws a plan; a bundle without a planner plays under the values alone. Another recording's score may be
followed instead. Sections of a story begin their bars at the bar line nearest to where their words begin.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from musiclm.score.codes import PART_OF, codes_of
from musiclm.score.controls import Controls, controls_in
from musiclm.score.plan import Plan, plan_of
from musiclm.score.planner import Planner
from musiclm.score.score import PARTS, Beat, From, Score


@dataclass(frozen=True)
class Course:
    """What one sample's music is to be.

    Args:
        score: from its beginning on; its times count from `begin`.
        begin: before where new music begins, in seconds: 0, or less where an audio prompt's end has a score.
        plan: that it is of, where it is of one.
    """

    score: Score
    begin: float = 0.0
    plan: Plan | None = None

    def codes(self, follows: Sequence[str]) -> dict[str, Tensor]:
        """The codes [levels, T] of the streams that a stage follows."""
        return {name: each for name, each in codes_of(self.score).items() if name in follows}


def plans_of(
    sections: Sequence[tuple[float, str]],
    embeddings: Tensor,
    controls: Sequence[Controls],
    planner: Planner | None,
    *,
    plan: Plan | None = None,
    before: Controls | None = None,
    generator: torch.Generator,
) -> list[tuple[Plan, Controls]]:
    """The plan of each section, and the values that it was made under.

    Args:
        sections: second of its beginning and words, of each.
        embeddings: joint ones of the words, [sections, D].
        controls: that the user gives, for each section.
        planner: draws what is not given; without one it stays open.
        plan: of the user, for the whole piece.
        before: values of what the piece goes on from.
        generator: of the draw.
    """
    found: list[tuple[Plan, Controls]] = []
    held = before or Controls()
    for (_, text), embedding, given in zip(sections, embeddings, controls, strict=True):
        said = given.over(controls_in(text))
        values = said.over(_unless(held, said))
        if plan is not None:  # what the user has written is not moved by words, only by values beside it
            made = plan.under(given)
        elif planner is not None:
            made = planner.draw(text, embedding, values, generator=generator)
        else:
            made = plan_of(values)
        found.append((made, values))
        first = made.sections[0]
        if planner is not None or plan is not None:
            held = Controls(first.bpm, first.meter, first.key)
        else:
            held = Controls(values.bpm, values.meter, values.key)
    return found


def _unless(held: Controls, said: Controls) -> Controls:
    """The values of the section before, without those that this one's words speak against."""
    if said.pace is not None:
        held = replace(held, bpm=None)
    if said.mode is not None and held.key is not None and held.key.mode != said.mode:
        held = replace(held, key=None)
    return held


def known_parts(values: Controls, *, planned: bool, tune: bool = False) -> tuple[str, ...]:
    """The parts of a score that a plan of these values says something of.

    Args:
        values: that are given or named.
        planned: whether somebody has planned all the rest.
        tune: whether there is a melody to follow, whose own tempo no meter alone takes away.
    """
    if planned:
        return PARTS
    in_time = values.bpm is not None or values.chords is not None
    asked = {
        "beats": in_time or (values.meter is not None and not tune),
        "keys": values.key is not None,
        "chords": values.chords is not None,
        "drums": values.drums is not None,
    }
    return tuple(part for part in PARTS if asked[part])


def score_of_sections(
    starts: Sequence[float],
    plans: Sequence[tuple[Plan, tuple[str, ...]]],
    seconds: float,
    *,
    first: float = 0.0,
) -> Score:
    """One score of several plans, each from the bar line nearest to where its section begins.

    Args:
        starts: of the sections, in seconds.
        plans: of each, and the parts of the score that it says something of.
        seconds: of the whole.
        first: where the first plan's first bar begins.
    """
    pieces: list[Score] = []
    begin, downbeat = -math.inf, first
    for index, (plan, parts) in enumerate(plans):
        score = plan.score(seconds, first=downbeat)
        if index + 1 < len(plans):
            lines = [beat.at for beat in score.beats if beat.place == 0 and beat.at > begin - 1e-6]
            end = min(lines, key=lambda line: abs(line - starts[index + 1]), default=begin)
            end = max(end, begin)  # the same bar line, counted from elsewhere, may differ in its last digit
        else:
            end = seconds
        pieces.append(between(score.only(parts), begin, end if index + 1 < len(plans) else math.inf))
        begin = downbeat = end
    return joined(pieces, seconds)


def joined(pieces: Sequence[Score], seconds: float) -> Score:
    """One score of several that follow each other."""
    return Score(
        seconds, *(tuple(each for piece in pieces for each in getattr(piece, part)) for part in PARTS)
    )


def between(score: Score, begin: float, end: float) -> Score:
    """What a score says between two moments, and nothing from the second one on."""
    spans = []
    for part in PARTS[1:]:
        inside = [each for each in getattr(score, part) if each.at < end - 1e-6]
        first = [replace(each, at=max(each.at, begin)) for each in inside if each.at <= begin + 1e-6][-1:]
        kept = [*first, *(each for each in inside if each.at > begin + 1e-6)]
        spans.append((*kept, From(end, None)) if kept and math.isfinite(end) else tuple(kept))
    beats = tuple(beat for beat in score.beats if begin - 1e-6 <= beat.at < end - 1e-6)
    return Score(score.seconds, beats, *spans)


def next_downbeat(beats: Sequence[Beat], moment: float) -> float | None:
    """Where the first bar after a moment begins, if the beats go on as the last ones did."""
    if len(beats) < 2:
        return None
    last = beats[-1]
    period = (last.at - beats[max(len(beats) - 9, 0)].at) / min(len(beats) - 1, 8)
    downbeat = last.at + (last.meter - last.place) % last.meter * period
    bar = last.meter * period
    while downbeat < moment - 1e-6:
        downbeat += bar
    while downbeat - bar >= moment - 1e-6:
        downbeat -= bar
    return downbeat


def streams_followed(names: Sequence[str]) -> tuple[str, ...]:
    """Those of a stage's conditions that are of the score."""
    return tuple(name for name in PART_OF if name in names)
