"""MusicLM: prompt → conditioning schedule → semantic tokens → acoustic decoder → waveform (sec. 3 and 4).

All forms of generation are one: `request.py` says what may be asked, `conditioning.py` what the music is to
be at every moment, `semantic_sampler.py` draws its semantic tokens, an acoustic decoder (`token_decoder.py`)
makes sound of them. Audio comes block by block; `generate` is the concatenation of what `stream` yields.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.bundle import Bundle
from musiclm.bundle.adapters import AdapterChoice, Adapters
from musiclm.generation.acoustic_decoder import AcousticDecoder
from musiclm.generation.audio_prompt import AudioPrompt
from musiclm.generation.audio_stream import AudioStream, finished
from musiclm.generation.conditioning import ConditioningSchedule
from musiclm.generation.course import Course
from musiclm.generation.decoders import DecoderChoice, choose_decoder, decoder_of, filling
from musiclm.generation.forms import Forms
from musiclm.generation.inpainting import Inpainter
from musiclm.generation.old_names import value_of_old_name
from musiclm.generation.prompts import PromptReader
from musiclm.generation.request import Request, check_seconds, check_seed
from musiclm.generation.semantic_sampler import GivenTokens, OnSemantic, SemanticSampler, SemanticTokens
from musiclm.generation.settings import SemanticSettings, read_settings
from musiclm.generation.windows import OnProgress, say_nothing
from musiclm.machine.cpus import limit_torch, on_free_cpus
from musiclm.machine.device import Device, choose_device
from musiclm.stages.precision import PrecisionChoice, choose_precision, prepare_to_decode
from musiclm.stages.stage import Stage
from musiclm.tokenizers.protocols import JointEmbedding
from musiclm.tokenizers.rvq import ResidualQuantizer

if TYPE_CHECKING:
    from musiclm.tokenizers.w2v_bert import W2VBertTokens


class MusicLM(Forms):
    """A text-to-music model made of ready components; see `from_pretrained`.

    Args:
        joint_embedding: of text and audio; its text tower reads the prompt.
        joint_quantizer: turns its embeddings into conditioning tokens.
        semantic_stage: draws semantic tokens.
        decoder: makes sound of them.
        settings: how semantic tokens are drawn.
        bundle: where the components are that only some forms need, loaded when they are first used: semantic
            encoder and quantizer to go on from an audio prompt, those of the melody to follow one.
        adapters: that have changed the stages.
        unusual_decoder: name of the decoder, where the bundle has another one that it would have taken.
    """

    def __init__(
        self,
        joint_embedding: JointEmbedding,
        joint_quantizer: ResidualQuantizer,
        *,
        semantic_stage: Stage,
        decoder: AcousticDecoder,
        settings: SemanticSettings | None = None,
        bundle: Bundle | None = None,
        adapters: Adapters | None = None,
        unusual_decoder: str = "",
    ) -> None:
        self.joint_embedding = joint_embedding
        self.joint_quantizer = joint_quantizer
        self.semantic_stage = semantic_stage
        self.decoder = decoder
        self.settings = settings or SemanticSettings()
        self.bundle = bundle
        self.adapters = adapters
        self.unusual_decoder = unusual_decoder

    def __getattr__(self, name: str) -> Any:
        return value_of_old_name(self, name)

    @classmethod
    def from_pretrained(
        cls,
        name: str | Path = "default",
        *,
        device: Device = "auto",
        precision: PrecisionChoice = "auto",
        adapters: Sequence[AdapterChoice] = (),
        decoder: DecoderChoice = "auto",
    ) -> "MusicLM":
        """The model of a bundle: a shipped one's name, a folder, or a Hugging Face repository id.

        Args:
            name: of the bundle.
            device: `cpu`, `cuda`, `cuda:1`, `mps`; `auto` is the first CUDA device, else MPS, else the CPU.
            precision: of the stages' matrices while they decode; fewer bits are faster, see
                `stages/precision.py`. `auto` is int8 on a CPU, bfloat16 on CUDA, float32 elsewhere.
            adapters: of its stages, each by itself or with a scale, such as `["mine", ("yours", 0.5)]`.
            decoder: what makes sound of the semantic tokens: `diffusion`, or `tokens`, as MusicLM has it;
                `auto` is diffusion where the bundle has a denoiser, unless an adapter is of the other.

        Raises:
            FileNotFoundError, ValueError: a bundle cannot be used, or this machine has no such device.
        """
        return cls.from_bundle(
            Bundle.find(name), device=device, precision=precision, adapters=adapters, decoder=decoder
        )

    @classmethod
    def from_bundle(
        cls,
        bundle: Bundle,
        *,
        device: Device = "auto",
        precision: PrecisionChoice = "auto",
        adapters: Sequence[AdapterChoice] = (),
        decoder: DecoderChoice = "auto",
    ) -> "MusicLM":
        """The model of a bundle's components. See `from_pretrained`."""
        limit_torch()
        place = choose_device(device)
        bits = choose_precision(precision, place)
        settings = cls.read_settings(bundle.components, str(bundle.file))
        adapted = Adapters(adapters, dict.fromkeys(bundle.components, bundle))
        chosen = choose_decoder(decoder, bundle, adapted.changed)

        def stage(role: str) -> Stage:
            return prepare_to_decode(adapted.merged(role, bundle.load(role)).to(place), bits)

        with on_free_cpus():  # hundreds of short operations
            semantic_stage = stage("semantic_stage")
            return cls(
                bundle.load("joint_embedding").to(place),
                bundle.load("joint_quantizer").to(place),
                semantic_stage=semantic_stage,
                decoder=decoder_of(bundle, stage, settings, place, chosen, adapted),
                settings=settings.semantic,
                bundle=bundle,
                adapters=adapted,
                unusual_decoder="" if chosen == choose_decoder("auto", bundle, adapted.changed) else chosen,
            )

    read_settings = staticmethod(read_settings)  # bundles ask whether they are ones that this model knows

    @property
    def device(self) -> torch.device:
        """Where the stages are."""
        return self.semantic_stage.embedding.weight.device

    @property
    def sample_rate(self) -> int:
        """Of the music, in Hz."""
        return self.decoder.sample_rate

    @property
    def fingerprint(self) -> str:
        """Of the bundle that the model is from, and of its adapters with their scales.

        Where the bundle would have made its sound by another decoder, it says by which it does.
        """
        if self.bundle is None:
            return ""
        by = f", by {self.unusual_decoder}" if self.unusual_decoder else ""
        return self.bundle.fingerprint() + str(self.adapters or "") + by

    def perform(
        self,
        request: Request,
        on_progress: OnProgress | None = None,
        on_semantic: OnSemantic | None = None,
    ) -> AudioStream:
        """What was asked for, ready to be made block by block.

        Raises:
            ValueError, FileNotFoundError: a recording cannot be used, or the bundle lacks a component for it.
        """
        if request.inpaint is not None:
            return self._inpaint(request, on_progress or say_nothing, on_semantic)
        prompt = self.prompts.audio_prompt(request, self.settings)
        generators = [self._generator(request.seed + n) for n in range(request.num)]
        with on_free_cpus():
            schedule, courses = self.prompts.schedule(request, prompt)
        return self._draw(
            schedule,
            request.new_seconds,
            generators,
            rows=1 if request.keep == "semantic" else request.num,
            prompt=prompt,
            courses=courses,
            settings=self._settings_of(request),
            on_progress=on_progress or say_nothing,
            on_semantic=on_semantic,
        )

    def courses(self, request: Request) -> Sequence[Course]:
        """What the samples of a request are to be over time, where the model follows a score."""
        prompt = self.prompts.audio_prompt(request, self.settings)
        with on_free_cpus():
            return self.prompts.schedule(request, prompt)[1]

    def sample(self, schedule: ConditioningSchedule, *, seconds: float, seed: int = 0) -> Audio:
        """Music under conditions that are there already, such as a recording's own joint embedding.

        Args:
            schedule: what the music is to be; `ConditioningSchedule.of` makes one of embeddings.
            seconds: of music, at most 600.
            seed: another one gives another sample.
        """
        check_seed(seed)
        check_seconds(seconds)
        return self._draw(schedule, seconds, [self._generator(seed)]).listen()[0]

    def render(self, semantic: Tensor, joint: Tensor, *, seed: int = 0) -> Audio:
        """The sound of given semantic tokens: what the acoustic decoder makes of them (MusicLM, sec. 5.2).

        Args:
            semantic: tokens [1, 1, T].
            joint: conditioning tokens [1, 12, 1].
            seed: another one gives other sound to the same tokens.
        """
        check_seed(seed)
        tokens = GivenTokens(semantic.to(self.device), self.semantic_stage.layout.target.frame_rate)
        length = round(semantic.shape[2] / tokens.frame_rate * self.sample_rate)
        schedule = ConditioningSchedule((0.0,), (joint.to(self.device),))
        return self._stream(tokens, schedule, length, [self._generator(seed)]).listen()[0]

    @cached_property
    def prompts(self) -> PromptReader:
        """What reads the prompts of requests."""
        return PromptReader(
            self.joint_embedding,
            self.joint_quantizer,
            semantic_stage=self.semantic_stage,
            decoder=self.decoder,
            bundle=self.bundle,
        )

    @property
    def semantic_tokenizer(self) -> "W2VBertTokens":
        """What hears semantic tokens in a recording. From words alone, neither it nor fairseq2 is needed."""
        return self.prompts.semantic_tokenizer

    def _draw(
        self,
        schedule: ConditioningSchedule,
        seconds: float,
        generators: Sequence[torch.Generator],
        *,
        rows: int = 1,
        prompt: AudioPrompt | None = None,
        courses: Sequence[Course] = (),
        settings: SemanticSettings | None = None,
        on_progress: OnProgress = say_nothing,
        on_semantic: OnSemantic | None = None,
    ) -> AudioStream:
        """Semantic tokens, `rows` of them, and the sound of as many samples as there are generators."""
        length = max(round(seconds * self.sample_rate), 1)
        tokens = SemanticSampler(
            self.semantic_stage,
            settings or self.settings,
            schedule,
            new=math.ceil(length * self.semantic_stage.layout.target.frame_rate / self.sample_rate),
            generators=generators[:rows],
            prefix=None if prompt is None else prompt.semantic,
            on_progress=on_progress,
            on_semantic=on_semantic,
        )
        return self._stream(tokens, schedule, length, generators, prompt, courses, on_progress)

    def _stream(
        self,
        tokens: SemanticTokens,
        schedule: ConditioningSchedule,
        length: int,
        generators: Sequence[torch.Generator],
        prompt: AudioPrompt | None = None,
        courses: Sequence[Course] = (),
        on_progress: OnProgress = say_nothing,
    ) -> AudioStream:
        prefix = None if prompt is None else prompt.prefix
        blocks = self.decoder.decode(
            tokens, schedule, length=length, generators=generators, prefix=prefix, on_progress=on_progress
        )
        if prompt is not None:
            length += prompt.audio.waveform.shape[1]
        heard = finished(
            blocks,
            num=len(generators),
            length=length,
            sample_rate=self.sample_rate,
            prompt=prompt,
            joint_length=self.decoder.joint_length,
        )
        return AudioStream(
            heard, num=len(generators), length=length, sample_rate=self.sample_rate, courses=courses
        )

    def _inpaint(
        self, request: Request, on_progress: OnProgress, on_semantic: OnSemantic | None
    ) -> AudioStream:
        inpainter = Inpainter(self.prompts, self.semantic_stage, self.settings, filling(self.decoder))
        around = inpainter.surroundings(request)
        generators = [self._generator(request.seed + n) for n in range(request.num)]
        blocks = inpainter.blocks(
            request, around, generators, on_progress=on_progress, on_semantic=on_semantic
        )
        length = around.audio.waveform.shape[1]
        return AudioStream(blocks, num=request.num, length=length, sample_rate=self.sample_rate)

    def _settings_of(self, request: Request) -> SemanticSettings:
        settings = self.settings.under_score() if request.asks_for_score else self.settings
        return settings.of_story() if len(request.sections) > 1 else settings

    def _generator(self, seed: int) -> torch.Generator:
        return torch.Generator(device=self.device).manual_seed(seed)
