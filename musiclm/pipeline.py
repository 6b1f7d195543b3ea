"""MusicLM: prompt → prefix → semantic, coarse, fine → waveform (MusicLM, sec. 3 and 4).

All forms of generation are one: `request.py` says what may be asked, `course.py` what the music is to be at
every moment, `windows.py` draws codes for it window by window and `sound.py` makes them audible. Audio comes
block by block as codes arrive; `generate` is the concatenation of what `stream` yields.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.bundle import Bundle
from musiclm.clip import Clip
from musiclm.course import Course
from musiclm.cpus import limit_torch
from musiclm.melody_guide import MelodyTokenizer
from musiclm.performance import Performance
from musiclm.prompt_notices import warn_of
from musiclm.request import Keep, Prompt, Recording, Request, check_seed
from musiclm.settings import GenerationSettings, read_settings
from musiclm.stages.precision import Precision, prepare_to_decode
from musiclm.stages.stage import Stage
from musiclm.tokenizers.protocols import AcousticTokenizer, JointEmbedding
from musiclm.tokenizers.rvq import ResidualQuantizer
from musiclm.windows import Known, OnProgress, Takes

if TYPE_CHECKING:
    from musiclm.tokenizers.w2v_bert import W2VBertTokens

OnSemantic = Callable[[Tensor], None]


class MusicLM:
    """A text-to-music model made of ready parts; see `from_pretrained`.

    Args:
        acoustic: the codec whose codes the coarse and fine stages speak.
        mulan: the joint embedding; its text tower reads the prompt.
        quantizer: turns MuLan embeddings into conditioning tokens.
        semantic, coarse, fine: the three stages.
        settings: how they are sampled.
        bundle: where the parts are that only some forms need: w2v_bert and kmeans to go on from a clip,
            melody and melody_rvq to follow a melody. They are loaded when they are first used.
        fingerprint: of the bundle they are from.
        trained_on: fingerprints of the tokenizers whose tokens the semantic stage has learned.
    """

    def __init__(
        self,
        acoustic: AcousticTokenizer,
        mulan: JointEmbedding,
        *,
        quantizer: ResidualQuantizer,
        semantic: Stage,
        coarse: Stage,
        fine: Stage,
        settings: GenerationSettings | None = None,
        bundle: Bundle | None = None,
        fingerprint: str = "",
        trained_on: Mapping[str, str] | None = None,
    ) -> None:
        self.acoustic = acoustic
        self.mulan = mulan
        self.quantizer = quantizer
        self.semantic = semantic
        self.coarse = coarse
        self.fine = fine
        self.settings = settings or GenerationSettings()
        self.bundle = bundle
        self.fingerprint = fingerprint
        self.trained_on = trained_on or {}

    @classmethod
    def from_pretrained(cls, name: str | Path = "default", *, precision: Precision = "int8") -> "MusicLM":
        """The model of a bundle: a shipped one's name, a folder, or a Hugging Face repository id.

        Args:
            name: of the bundle.
            precision: of the stages' matrices while they decode; fewer bits are faster, see
                `stages/precision.py`.

        Raises:
            FileNotFoundError, ValueError: there is no such bundle, or it is incomplete or damaged.
        """
        limit_torch()
        bundle = Bundle.find(name)
        settings = read_settings(bundle.settings, f"{bundle.file}: settings")
        return cls(
            bundle.load("soundstream"),
            bundle.load("mulan"),
            quantizer=bundle.load("mulan_rvq"),
            semantic=prepare_to_decode(bundle.load("semantic"), precision),
            coarse=prepare_to_decode(bundle.load("coarse"), precision),
            fine=prepare_to_decode(bundle.load("fine"), precision),
            settings=settings,
            bundle=bundle,
            fingerprint=bundle.fingerprint(),
            trained_on=bundle.entry("semantic").get("trained_on"),
        )

    def generate(
        self,
        prompt: Prompt = "",
        *,
        seconds: float | None = None,
        seed: int = 0,
        blend: float = 0.0,
        melody: Recording | None = None,
        clip: Recording | None = None,
        on_progress: OnProgress | None = None,
        on_semantic: OnSemantic | None = None,
    ) -> Audio:
        """Music in the manner of the prompt: [1, round(seconds * 24000)], the same for the same seed.

        Args:
            prompt: a description in words; or several, each with the second it begins at. Optional where
                there is a clip: its own sound then says what it is like.
            seconds: of new music, at most 600; without it as long as the melody, or 10, or for a story 15 s
                beyond where its last part begins.
            seed: another one gives another take.
            blend: seconds over which a story goes over from one part to the next; 0 switches.
            melody: a recording of 1 to 60 s, sung, hummed or played, whose melody is followed; beyond its end
                the music goes on by itself.
            clip: a recording of 1 to 600 s to go on from: the result begins with it, its last 0.1 s
                cross-faded with the music that follows.
            on_progress: called as the stages advance.
            on_semantic: called with semantic tokens [1, 1, t] as they are drawn, before any sound is made of
                them.

        Warns:
            PromptNotice: the model knows hardly a word of the prompt, or reads only its beginning.

        Raises:
            ValueError, FileNotFoundError: what was asked for cannot be made, or not by this bundle.
        """
        request = Request(prompt, seconds, seed, blend=blend, melody=melody, clip=clip)
        return self.perform(request, on_progress, on_semantic).listen()[0]

    def stream(
        self,
        prompt: Prompt = "",
        *,
        seconds: float | None = None,
        seed: int = 0,
        blend: float = 0.0,
        melody: Recording | None = None,
        clip: Recording | None = None,
        on_progress: OnProgress | None = None,
        on_semantic: OnSemantic | None = None,
    ) -> Iterator[Tensor]:
        """Blocks [1, l] of the same audio that `generate` returns, as they are decoded."""
        request = Request(prompt, seconds, seed, blend=blend, melody=melody, clip=clip)
        return (block[0] for block in self.perform(request, on_progress, on_semantic))

    def story(
        self,
        parts: Sequence[tuple[float, str]],
        *,
        seconds: float | None = None,
        seed: int = 0,
        blend: float = 0.0,
        on_progress: OnProgress | None = None,
    ) -> Audio:
        """Music whose description changes as it goes on: `generate` of several prompts (MusicLM, sec. 4.2).

        A part begins where it is to, to the semantic token (40 ms): the windows' stride begins anew there.

        Args:
            parts: second of its beginning and text, of each; the first begins at 0.
            seconds: in all.
            seed, blend, on_progress: as in `generate`.
        """
        return self.generate(tuple(parts), seconds=seconds, seed=seed, blend=blend, on_progress=on_progress)

    def variations(
        self,
        prompt: Prompt = "",
        *,
        num: int = 4,
        keep: Keep | None = None,
        seconds: float | None = None,
        seed: int = 0,
        blend: float = 0.0,
        melody: Recording | None = None,
        clip: Recording | None = None,
        on_progress: OnProgress | None = None,
    ) -> list[Audio]:
        """Different takes of the same request, drawn in one batch.

        Take k (from 0) draws from a source of its own, seeded with seed + k: it does not depend on the
        others. It is what `generate(..., seed=seed + k)` gives, bit by bit (unless there was no C compiler at
        installation: then products of several rows round otherwise, and where two codes are nearly as likely
        it goes on as another take).

        Args:
            num: takes.
            keep: `semantic` draws the semantic tokens once, and only the sound anew for each take: what stays
                the same is what those tokens carry (MusicLM, sec. 5.2).
            prompt, seconds, seed, blend, melody, clip, on_progress: as in `generate`.
        """
        request = Request(prompt, seconds, seed, num, keep, blend=blend, melody=melody, clip=clip)
        return self.perform(request, on_progress).listen()

    def perform(
        self,
        request: Request,
        on_progress: OnProgress | None = None,
        on_semantic: OnSemantic | None = None,
    ) -> Performance:
        """What was asked for, ready to be made block by block.

        Raises:
            ValueError, FileNotFoundError: a recording cannot be used, or the bundle lacks a part for it.
        """
        length = max(round(request.length * self.acoustic.sample_rate), 1)
        clip = None
        if request.clip is not None:
            clip = Clip.read(request.clip, self.acoustic, self.semantic_tokenizer, self.settings)
        takes = self._takes(
            self._course(request, clip),
            length,
            range(request.seed, request.seed + request.num),
            one_course=request.keep == "semantic",
            known=None if clip is None else clip.end,
            on_progress=on_progress,
            on_semantic=on_semantic,
        )
        return Performance(takes, self.acoustic, length, context=self.settings.decoder_context, clip=clip)

    def render(self, semantic: Tensor, mulan: Tensor, *, seed: int = 0) -> Audio:
        """The sound of given semantic tokens: what the coarse and the fine stage make of them (sec. 5.2).

        Args:
            semantic: tokens [1, 1, T].
            mulan: conditioning tokens [1, 12, 1].
            seed: another one gives other sound to the same tokens.
        """
        check_seed(seed)
        seconds = semantic.shape[2] / self.semantic.layout.target.frame_rate
        length = round(seconds * self.acoustic.sample_rate)
        takes = self._takes(Course((0.0,), (mulan,)), length, [seed], given=semantic)
        return Performance(takes, self.acoustic, length, context=self.settings.decoder_context).listen()[0]

    @cached_property
    def semantic_tokenizer(self) -> "W2VBertTokens":
        """What hears semantic tokens in a clip; generation from words alone needs neither it nor fairseq2."""
        from musiclm.tokenizers.w2v_bert import W2VBertTokens

        bundle = self._bundle_with("w2v_bert", "kmeans", use="go on from a clip")
        return W2VBertTokens(bundle.load("w2v_bert"), bundle.load("kmeans"))

    @cached_property
    def melody_tokenizer(self) -> MelodyTokenizer:
        """What hears a melody as codes, in a bundle that has learned to follow one."""
        bundle = self._bundle_with("melody", "melody_rvq", use="follow a melody")
        for stage in (self.semantic, self.coarse):
            layout = stage.layout
            if not any(segment.name == "melody" for segment in layout.conditions):
                raise ValueError(
                    f"expected stages that follow a melody, the {layout.target.name} one of {bundle.path} "
                    "has learned none: train it from tokens with melodies"
                )
        return MelodyTokenizer(bundle.load("melody"), bundle.load("melody_rvq"))

    def _bundle_with(self, *parts: str, use: str) -> Bundle:
        missing = [part for part in parts if self.bundle is None or part not in self.bundle.parts]
        if self.bundle is None or missing:
            place = "this model" if self.bundle is None else str(self.bundle.path)
            raise ValueError(
                f"expected a bundle with the parts {' and '.join(parts)} to {use}, {place} has no "
                f"{' and no '.join(missing)}: choose another --bundle"
            )
        return self.bundle

    def _course(self, request: Request, clip: Clip | None) -> Course:
        melody = None
        if request.melody is not None:
            melody = self.melody_tokenizer.codes(request.melody)  # [1, 24, W]
        if clip is not None and not request.prompt:
            starts, embeddings = [0.0], clip.embed(self.mulan)
        else:
            starts = [start for start, _ in request.parts]
            texts = [text for _, text in request.parts]
            warn_of(texts, self.mulan)
            embeddings = self.mulan.embed_text(texts)
        return Course.of(starts, embeddings, self.quantizer, blend=request.blend, melody=melody)

    def _takes(
        self,
        course: Course,
        length: int,
        seeds: Sequence[int],
        *,
        one_course: bool = False,
        known: Known | None = None,
        given: Tensor | None = None,
        on_progress: OnProgress | None = None,
        on_semantic: OnSemantic | None = None,
    ) -> Takes:
        """What will draw the codes of `length` samples, a take for each seed."""
        return Takes(
            self.semantic,
            self.coarse,
            self.fine,
            settings=self.settings,
            course=course,
            frames=math.ceil(length / self.acoustic.hop_length),
            generators=[torch.Generator().manual_seed(seed) for seed in seeds],
            one_course=one_course,
            known=known,
            given=given,
            on_progress=on_progress or _say_nothing,
            on_semantic=on_semantic or _hear_nothing,
        )


def _say_nothing(stage: str, done: int, total: int) -> None:
    pass


def _hear_nothing(semantic: Tensor) -> None:
    pass
