"""What a request says of the music's course, as codes that stages follow: one `Course` for each sample."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.bundle import Bundle
from musiclm.generation.audio_prompt import LIKENESS_SECONDS, AudioPrompt
from musiclm.generation.course import (
    Course,
    between,
    joined,
    known_parts,
    next_downbeat,
    plans_of,
    score_of_sections,
)
from musiclm.generation.request import AudioInput, Request, check_sounding, read_mono
from musiclm.score.bars import plan_of_score
from musiclm.score.controls import Controls
from musiclm.score.listener import ScoreListener
from musiclm.score.planner import Planner
from musiclm.score.score import From, Score


@dataclass(frozen=True)
class ScoreReader:
    """Makes the courses of requests.

    Args:
        follows: streams of the score that the semantic stage has learned.
        planner: draws what nobody says; None in a bundle without.
        listener: hears the score of a recording; None in a bundle without.
    """

    follows: Sequence[str]
    planner: Planner | None = None
    listener: ScoreListener | None = None

    @classmethod
    def of(cls, bundle: Bundle | None, follows: Sequence[str], device: torch.device) -> "ScoreReader":
        """That of a bundle."""
        found = {} if bundle is None or not follows else bundle.components
        planner, listener = (
            bundle.load(role).to(device) if bundle is not None and role in found else None
            for role in ("planner", "score_listener")
        )
        return cls(follows, planner, listener)

    def courses(self, request: Request, embeddings: Tensor, prompt: AudioPrompt | None) -> list[Course]:
        """The course of each sample; all the same where they share their semantic tokens.

        Args:
            request: what is asked for.
            embeddings: joint ones of its sections, [sections, D]; of the audio prompt, where there are no
                words.
            prompt: the recording that it goes on from.

        Raises:
            FileNotFoundError, ValueError: what is to be followed cannot be used.
        """
        if request.follow is not None:
            return [self._followed(request)] * request.num
        heard = None if prompt is None or self.listener is None else self._of_end(prompt, self.listener)
        if request.keep == "semantic":
            return [self._planned(request, embeddings, prompt, heard, request.seed)] * request.num
        seeds = range(request.seed, request.seed + request.num)
        return [self._planned(request, embeddings, prompt, heard, seed) for seed in seeds]

    def _followed(self, request: Request) -> Course:
        assert request.follow is not None
        score = request.follow if isinstance(request.follow, Score) else self._heard(request.follow)
        score = replace(score.only(request.only), seconds=request.new_seconds)
        given = request.section_controls[0]
        if given.key is not None:
            score = replace(score, keys=(From(0.0, given.key),))
        if given.drums is not None:
            score = replace(score, drums=(From(0.0, given.drums),))
        return Course(score)

    def _heard(self, recording: AudioInput) -> Score:
        """The score of a recording, heard."""
        if self.listener is None:
            raise ValueError(
                "expected a bundle with the component score_listener to follow a recording, this one has "
                "none: choose another --bundle, or give a plan, a list of beats or a MIDI file"
            )
        audio = read_mono("recording to follow", recording, self.listener.sample_rate)
        check_sounding("recording to follow", audio)
        return self.listener.hear(audio.waveform[None])

    def _of_end(self, prompt: AudioPrompt, listener: ScoreListener) -> Score:
        """The score of an audio prompt's end, its times counted from where new music begins."""
        samples = round(LIKENESS_SECONDS * prompt.audio.sample_rate)
        end = Audio(prompt.audio.waveform[:, -samples:], prompt.audio.sample_rate)
        return listener.hear(end.resample(listener.sample_rate).waveform[None]).later(-end.seconds)

    def _planned(
        self, request: Request, embeddings: Tensor, prompt: AudioPrompt | None, heard: Score | None, seed: int
    ) -> Course:
        # A tune has a tempo, a key and chords of its own, which a planner does not hear.
        tune = request.melody is not None
        planner = None if tune else self.planner
        if planner is not None and planner.dimension != embeddings.shape[1]:
            # Another joint embedding was put into the model: the words alone tell the plan.
            embeddings = embeddings.new_zeros(len(embeddings), planner.dimension)
        plans = plans_of(
            request.sections,
            embeddings.cpu(),
            request.section_controls,
            planner,
            plan=request.plan,
            before=None if heard is None else values_of(heard),
            generator=torch.Generator(device="cpu").manual_seed(seed),
        )
        planned = planner is not None or request.plan is not None
        first = 0.0 if heard is None else next_downbeat(heard.beats, 0.0) or 0.0
        new = score_of_sections(
            [start for start, _ in request.sections],
            [(plan, known_parts(values, planned=planned, tune=tune)) for plan, values in plans],
            request.new_seconds,
            first=first,
        )
        plan = plans[0][0] if planned else None
        if heard is None or prompt is None:
            return Course(new, plan=plan)
        carried = prompt.prefix.shape[2] / prompt.audio.sample_rate
        whole = joined([heard, between(new, 0.0, math.inf)], request.new_seconds).later(carried)
        return Course(replace(whole, seconds=carried + request.new_seconds), -carried, plan)


def values_of(score: Score) -> Controls:
    """The values that a piece has at its end, as far as they are known."""
    plan = plan_of_score(score)
    key = score.keys[-1].what if score.keys else None
    drums = score.drums[-1].what if score.drums else None
    if plan is None:
        return Controls(key=key, drums=drums)
    return Controls(plan.sections[0].bpm, plan.sections[0].meter, key, drums=drums)


def stacked(courses: Sequence[Course], follows: Sequence[str], device: torch.device) -> Mapping[str, Tensor]:
    """The codes of all samples, [N, levels, T] by stream, of those streams that they say something of.

    [1, levels, T] where the samples share their course.
    """
    if all(course is courses[0] for course in courses):
        courses = courses[:1]
    rows = [course.codes(follows) for course in courses]
    codes = {name: torch.stack([row[name] for row in rows]).to(device) for name in follows}
    return {name: each for name, each in codes.items() if bool((each >= 0).any())}
