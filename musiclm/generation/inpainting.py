"""Regions of a recording made anew, in time with what stays on either side of them.

The semantic stage draws a region's tokens going on from what stands before it; it cannot look ahead. The
denoiser does: latents before and after the region are its context, as in JEN-1's inpainting (2308.04729,
sec. 4.3), so that it leads from the one to the other. By default the recording's own beats and keys, as the
listener hears them, run on through the region. What lies outside it stays as it is, sample by sample.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import torch
from torch import Tensor
from torch.nn import functional

from musiclm.audio import Audio
from musiclm.generation.audio_prompt import LIKENESS_SECONDS
from musiclm.generation.block_decoding import BlockDecoder, finish
from musiclm.generation.components import no_score_followed
from musiclm.generation.conditioning import ConditioningSchedule
from musiclm.generation.course import Course, between
from musiclm.generation.diffusion_decoder import DiffusionDecoder
from musiclm.generation.prompts import PromptReader
from musiclm.generation.request import FOLLOW_SECONDS, Request, check_sounding, read_mono
from musiclm.generation.score_prompt import stacked
from musiclm.generation.semantic_sampler import OnSemantic, SemanticSampler
from musiclm.generation.settings import SemanticSettings
from musiclm.generation.windows import OnProgress
from musiclm.score.controls import Controls, controls_in
from musiclm.score.score import From, Score
from musiclm.stages.stage import Stage

T = TypeVar("T")

FADE_SECONDS = 0.05  # on either side of a region, over which the old sound goes over into the new one


@dataclass(frozen=True)
class Surroundings:
    """What is known of a recording outside its regions.

    Args:
        audio: [1, L] at the decoder's rate.
        embeddings: [1, D] joint ones of the words, or of how the recording sounds beside its regions.
        score: what of its own course is kept; None in a model that follows none.
        given: values that the regions are to have.
    """

    audio: Audio
    embeddings: Tensor
    score: Score | None
    given: Controls


@dataclass(frozen=True)
class Inpainter:
    """Makes regions of a recording anew.

    Args:
        prompts: reads words and recordings.
        semantic_stage: draws the regions' semantic tokens.
        settings: how it is sampled.
        decoder: fills gaps in sound.
    """

    prompts: PromptReader
    semantic_stage: Stage
    settings: SemanticSettings
    decoder: DiffusionDecoder

    @property
    def unit(self) -> int:
        """Samples of the shortest stretch that is whole on all clocks."""
        frames = self.decoder.hop_length * self.decoder.denoiser.fold
        return math.lcm(self.prompts.semantic_tokenizer.hop_length, frames)

    def surroundings(self, request: Request) -> Surroundings:
        """What is known of a request's recording.

        Raises:
            FileNotFoundError, ValueError: it cannot be used, or the bundle lacks what it takes.
        """
        assert request.inpaint is not None
        audio = read_mono("recording to inpaint", request.inpaint, self.decoder.sample_rate)
        check_sounding("recording to inpaint", audio)
        given = request.section_controls[0].over(controls_in(request.sections[0][1]))
        return Surroundings(audio, self._embeddings(request, audio), self._score(request, audio), given)

    def blocks(
        self,
        request: Request,
        around: Surroundings,
        generators: Sequence[torch.Generator],
        *,
        on_progress: OnProgress,
        on_semantic: OnSemantic | None,
    ) -> Iterator[Tensor]:
        """The recording as N samples [N, 1, l]: after each region, all that is final."""
        rate, whole = self.decoder.sample_rate, around.audio.waveform.shape[1]
        music = around.audio.waveform.repeat(len(generators), 1)[:, None]  # [N, 1, L]
        edges = [self._edges(region, whole) for region in request.regions]
        limits = [*(begin for begin, _ in edges[1:]), whole]  # where the next region, or the end, begins
        given = 0
        for (begin, end), limit in zip(edges, limits, strict=True):
            gap = self._gap(begin, end, limit)
            schedule = self._schedule(around, gap)
            tokens = self._tokens(music, gap, schedule, generators, on_progress, on_semantic)
            rows = zip(music.split(1), tokens.split(1), generators, strict=True)
            for sample, its_tokens, generator in rows:
                made = self._sound(sample, gap, its_tokens, schedule, generator, on_progress)
                _put(sample[0], made.cpu(), begin, end, gap.length + gap.after, rate)
            until = whole if limit == whole else limit - round(FADE_SECONDS * rate)
            yield music[:, :, given:until].clone()
            given = until

    def _edges(self, region: tuple[float, float], whole: int) -> tuple[int, int]:
        """A region in samples; where too little stays before or after it to fade over, none of it stays."""
        begin, end = (round(each * self.decoder.sample_rate) for each in region)
        fade = round(FADE_SECONDS * self.decoder.sample_rate)
        return (0 if begin < self.unit else begin, whole if whole - end < self.unit + fade else end)

    def _gap(self, begin: int, end: int, limit: int) -> "Gap":
        """The gap of a region; it begins where the region does, so that a token begins there."""
        unit, rate = self.unit, self.decoder.sample_rate
        made = -(-(end - begin) // unit) * unit
        carried = round(self.decoder.carried_seconds * rate)
        heard = round((self.settings.window - self.settings.stride) * rate)
        return Gap(
            begin=begin,
            length=made,
            heard=min(max(carried, heard), begin) // unit * unit,
            before=min(carried, begin) // unit * unit,
            after=min(carried, max(limit - begin - made, 0)) // unit * unit,
        )

    def _tokens(
        self,
        music: Tensor,
        gap: "Gap",
        schedule: ConditioningSchedule,
        generators: Sequence[torch.Generator],
        on_progress: OnProgress,
        on_semantic: OnSemantic | None,
    ) -> Tensor:
        """Semantic tokens [N, 1, T] of the known sound before the gap, the gap, and the known sound after."""
        hop = self.prompts.semantic_tokenizer.hop_length
        follows = any(name in schedule.codes for name in self.prompts.score_reader.follows)
        settings = self.settings.under_score() if follows else self.settings
        # Each side by itself, so that nothing of what was in the gap is heard in its tokens.
        prefix = self._heard(music[:, :, gap.begin - gap.heard : gap.begin])
        suffix = self._heard(music[:, :, gap.end : gap.end + gap.after])
        sampler = SemanticSampler(
            self.semantic_stage,
            settings,
            schedule,
            new=gap.length // hop,
            generators=generators,
            prefix=prefix,
            on_progress=on_progress,
            on_semantic=on_semantic,
        )
        drawn = sampler.first(sampler.total)[:, :, (gap.heard - gap.before) // hop :]
        return torch.cat([drawn, suffix], dim=2)

    def _heard(self, waveform: Tensor) -> Tensor:
        """Semantic tokens [N, 1, T] of a waveform [N, 1, L], which may be empty, row by row."""
        if not waveform.shape[2]:
            return torch.empty(len(waveform), 1, 0, dtype=torch.int64, device=self.prompts.device)
        rows = waveform.to(self.prompts.device).split(1)
        return torch.stack([self.prompts.semantic_tokenizer.encode(row) for row in rows])

    @torch.inference_mode()
    def _sound(
        self,
        music: Tensor,
        gap: "Gap",
        tokens: Tensor,
        schedule: ConditioningSchedule,
        generator: torch.Generator,
        on_progress: OnProgress,
    ) -> Tensor:
        """Waveform [1, l] of a gap in music [1, 1, L], the joint before it, and what is known after it."""
        autoencoder, hop = self.decoder.autoencoder, self.decoder.hop_length
        piece = music[:, :, gap.begin - gap.before : gap.end + gap.after]
        piece = functional.pad(piece, (0, gap.before + gap.length + gap.after - piece.shape[2]))
        piece = piece.to(self.prompts.device)
        # As it stands: where sound meets the gap, its latents may hear a few frames of what was there.
        known = autoencoder.encode(piece)
        first = gap.before // hop
        latents = self.decoder.fill(
            known,
            (first, first + gap.length // hop),
            tokens,
            schedule,
            generator=generator,
            on_progress=on_progress,
        )
        context = self.decoder.autoencoder_settings.context
        blocks = BlockDecoder(autoencoder, context)
        if first:
            joint = min(max(math.floor(FADE_SECONDS * autoencoder.frame_rate), 1), first)
            blocks = BlockDecoder.after(
                piece[:, :, : gap.before], known[:, :, :first], autoencoder, context, joint=joint
            )
        # Window by window, as they are made: a long one at once would fill the memory.
        window = round(self.decoder.denoiser_settings.window * autoencoder.frame_rate)
        pieces = latents[:, :, first:].split(window, dim=2)
        made = [blocks(each, last=each is pieces[-1]) for each in pieces]
        return torch.cat(made, dim=2)[0]

    def _schedule(self, around: Surroundings, gap: "Gap") -> ConditioningSchedule:
        """Conditions of a gap, counted from where it begins."""
        begin, heard = gap.begin / self.decoder.sample_rate, gap.heard / self.decoder.sample_rate
        codes: Mapping[str, Tensor] = {}
        if around.score is not None:
            score, given = around.score, around.given
            score = replace(
                score,
                keys=_from(score.keys, begin, given.key),
                drums=_from(score.drums, begin, given.drums),
            )
            start = begin - heard
            score = between(score, start, math.inf).later(-start)
            course = Course(replace(score, seconds=around.audio.seconds - start))
            codes = stacked([course], self.prompts.score_reader.follows, self.prompts.device)
        quantizer = self.prompts.joint_quantizer
        return ConditioningSchedule.of([0.0], around.embeddings, quantizer, codes=codes, codes_begin=-heard)

    def _embeddings(self, request: Request, audio: Audio) -> Tensor:
        """Joint ones [1, D] of the words; without any, of how the recording sounds beside its regions."""
        if request.prompt:
            return self.prompts.embeddings(request)
        joint = self.prompts.joint_embedding
        rate = audio.sample_rate
        borders = [0.0, *(moment for region in request.regions for moment in region), audio.seconds]
        stays = zip(borders[::2], borders[1::2], strict=True)
        pieces = [audio.waveform[:, round(begin * rate) : round(end * rate)] for begin, end in stays]
        rest = torch.cat(pieces, dim=1)
        most = round(LIKENESS_SECONDS * rate)  # around where the first region is taken out
        start = max(min(round(borders[1] * rate) - most // 2, rest.shape[1] - most), 0)
        near = Audio(rest[:, start : start + most], rate).resample(joint.sample_rate)
        return joint.embed_audio(near.waveform[None].to(self.prompts.device))

    def _score(self, request: Request, audio: Audio) -> Score | None:
        """What is kept of the recording's own score; None in a model that follows none.

        Raises:
            ValueError: the user gives values, and the model follows none.
        """
        reader = self.prompts.score_reader
        if not reader.follows:
            if request.section_controls[0].any:
                raise no_score_followed(self.prompts.bundle)
            return None
        if not request.only or reader.listener is None or audio.seconds < FOLLOW_SECONDS[0]:
            return Score(audio.seconds)
        heard = audio.resample(reader.listener.sample_rate).waveform[None]
        return reader.listener.hear(heard).only(request.only)


@dataclass(frozen=True)
class Gap:
    """What is made anew of a recording, and what is known on either side of it, in samples.

    All but `begin` are whole units.

    Args:
        begin: where it begins, at any sample.
        length: of it; up to a unit more than the region.
        heard: before it, whose tokens the semantic stage goes on from.
        before: before it, whose latents are context.
        after: after it, whose latents are context.
    """

    begin: int
    length: int
    heard: int
    before: int
    after: int

    @property
    def end(self) -> int:
        """Of what is made."""
        return self.begin + self.length


def _from(spans: tuple[From[T], ...], begin: float, what: T | None) -> tuple[From[T], ...]:
    """Spans of which the last, from a moment on, is what a user gives; as they are where nothing is given."""
    if what is None:
        return spans
    return (*(span for span in spans if span.at < begin), From(begin, what))


def _put(waveform: Tensor, made: Tensor, begin: int, end: int, after: int, rate: int) -> None:
    """Put what was made into a waveform [1, L], in place.

    Args:
        waveform: of the recording.
        made: [1, l]: the joint before a gap, cross-faded already, the gap, and what is known after it.
        begin, end: of the region; the gap begins with it.
        after: samples from the region's beginning to the end of what was made.
        rate: samples a second.
    """
    joint = made.shape[1] - after
    whole = waveform.shape[1]
    if end == whole:
        made = made[:, : joint + end - begin]
    bent = finish(made[None], last=end == whole, rate=rate)[0]
    # The old sound is not bent, however loud: it goes over into what is.
    bent[:, :joint] = torch.lerp(made[:, :joint], bent[:, :joint], torch.linspace(0, 1, joint, device="cpu"))
    made = bent
    waveform[:, begin - joint : end] = made[:, : joint + end - begin]
    fade = min(round(FADE_SECONDS * rate), made.shape[1] - (joint + end - begin), whole - end)
    # The two go out of phase as they go on, and a linear fade would dip where they meet: their powers add up.
    way = torch.linspace(0, math.pi / 2, fade, device="cpu")
    new, old = made[:, joint + end - begin :][:, :fade], waveform[:, end : end + fade]
    most = old.abs().clamp(min=1.0)  # alike, they may add up to more than each
    waveform[:, end : end + fade] = (way.cos() * new + way.sin() * old).clamp(-most, most)
