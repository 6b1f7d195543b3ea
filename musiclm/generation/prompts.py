"""Reads the prompts of a request: words, a melody, values and plans, a recording to go on from.

What is read becomes the conditioning schedule; of a recording to go on from, the end becomes tokens as well.
Components of the bundle that only some forms need are loaded when they are first used.
"""

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional

from musiclm.bundle import Bundle
from musiclm.generation.acoustic_decoder import AcousticDecoder
from musiclm.generation.audio_prompt import AudioPrompt
from musiclm.generation.components import check_follows, load_components, no_score_followed
from musiclm.generation.conditioning import ConditioningSchedule
from musiclm.generation.course import Course, streams_followed
from musiclm.generation.melody_prompt import MelodyTokenizer
from musiclm.generation.prompt_notices import warn_of
from musiclm.generation.request import Request, check_sounding, read_mono
from musiclm.generation.score_prompt import ScoreReader, stacked
from musiclm.generation.settings import SemanticSettings
from musiclm.stages.stage import Stage
from musiclm.tokenizers.protocols import JointEmbedding
from musiclm.tokenizers.rvq import ResidualQuantizer

if TYPE_CHECKING:
    from musiclm.tokenizers.w2v_bert import W2VBertTokens


class PromptReader:
    """Makes the conditions of a request's music.

    Args:
        joint_embedding: of text and audio; its text tower reads the words.
        joint_quantizer: turns its embeddings into conditioning tokens.
        semantic_stage, decoder: what follows the conditions.
        bundle: where the other components are; None for a model that is from none.
    """

    def __init__(
        self,
        joint_embedding: JointEmbedding,
        joint_quantizer: ResidualQuantizer,
        *,
        semantic_stage: Stage,
        decoder: AcousticDecoder,
        bundle: Bundle | None,
    ) -> None:
        self.joint_embedding = joint_embedding
        self.joint_quantizer = joint_quantizer
        self.semantic_stage = semantic_stage
        self.decoder = decoder
        self.bundle = bundle

    @property
    def device(self) -> torch.device:
        """Where the stages are."""
        return self.semantic_stage.embedding.weight.device

    @cached_property
    def semantic_tokenizer(self) -> "W2VBertTokens":
        """What hears semantic tokens in a recording."""
        from musiclm.tokenizers.w2v_bert import W2VBertTokens

        roles = ("semantic_encoder", "semantic_quantizer")
        return W2VBertTokens(
            *load_components(self.bundle, roles, use="go on from a recording", device=self.device)
        )

    @cached_property
    def melody_tokenizer(self) -> MelodyTokenizer:
        """What hears a melody as codes, in a bundle that has learned to follow one."""
        roles = ("melody_embedding", "melody_quantizer")
        embedding, quantizer = load_components(self.bundle, roles, use="follow a melody", device=self.device)
        check_follows("melody", self.bundle, self.semantic_stage, self.decoder)
        return MelodyTokenizer(embedding, quantizer, self.device)

    @cached_property
    def score_reader(self) -> ScoreReader:
        """What makes the course of the music, in the streams of the score that the semantic stage follows."""
        names = [segment.name for segment in self.semantic_stage.layout.conditions]
        return ScoreReader.of(self.bundle, streams_followed(names), self.device)

    def audio_prompt(self, request: Request, settings: SemanticSettings) -> AudioPrompt | None:
        """The recording that a request goes on from, if any.

        Raises:
            FileNotFoundError, ValueError: it cannot be used, or the bundle cannot go on from one.
        """
        if request.continue_ is None:
            return None
        return AudioPrompt.read(
            request.continue_, self.decoder, self.semantic_tokenizer, settings, self.device
        )

    def embeddings(self, request: Request, prompt: AudioPrompt | None = None) -> Tensor:
        """Joint ones [sections, D]: of words, of a recording that the music is to be like, or of both."""
        joint = self.joint_embedding
        found = []
        if request.prompt:
            texts = [text for _, text in request.sections]
            warn_of(texts, joint)
            found.append(joint.embed_text(texts))
        if request.like is not None:
            audio = read_mono("recording to be like", request.like, joint.sample_rate)
            check_sounding("recording to be like", audio)
            found.append(joint.embed_audio(audio.waveform[None].to(self.device)))
        if not found:
            assert prompt is not None
            return prompt.embed(joint)
        return found[0] if len(found) == 1 else functional.normalize(found[0] + found[1], dim=-1)

    def schedule(
        self, request: Request, prompt: AudioPrompt | None
    ) -> tuple[ConditioningSchedule, Sequence[Course]]:
        """What the music is to be, and the course of each sample in a model that follows a score.

        Raises:
            FileNotFoundError, ValueError: a recording cannot be used, or the bundle lacks what it takes.
        """
        codes = {name: each.to(self.device) for name, each in request.codes.items()}
        for name in codes:
            check_follows(name, self.bundle, self.semantic_stage, self.decoder)
        if request.melody is not None:
            codes["melody"] = self.melody_tokenizer.codes(request.melody)  # [1, 24, W]
        starts = [start for start, _ in request.sections]
        embeddings = self.embeddings(request, prompt)
        courses: list[Course] = []
        if self.score_reader.follows:
            courses = self.score_reader.courses(request, embeddings, prompt)
            codes |= stacked(courses, self.score_reader.follows, self.device)
        elif request.asks_for_score:
            raise no_score_followed(self.bundle)
        schedule = ConditioningSchedule.of(
            starts,
            embeddings,
            self.joint_quantizer,
            blend=request.blend,
            codes=codes,
            codes_begin=courses[0].begin if courses else 0.0,
        )
        return schedule, courses
