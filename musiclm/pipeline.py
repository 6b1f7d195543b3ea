"""MusicLM: prompt → prefix → semantic, coarse, fine → waveform (MusicLM, sec. 3 and 4).

Semantic tokens are sampled in windows of 30 s with a stride of 15 s, coarse codes in windows that carry on
from the last frames of the one before, fine codes in short windows side by side in one batch. Audio is
decoded block by block as codes arrive; `generate` is the concatenation of what `stream` yields.
"""

import math
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.bundle import Bundle
from musiclm.settings import GenerationSettings, read_settings
from musiclm.stages.decoding import generate as sample
from musiclm.stages.precision import Precision, prepare_to_decode
from musiclm.stages.stage import Stage
from musiclm.tokenizers.protocols import AcousticTokenizer, JointEmbedding
from musiclm.tokenizers.rvq import ResidualQuantizer

MAX_SECONDS = 30.0  # one semantic window (MusicLM, sec. 4.2)
MAX_PROMPT = 2_000  # characters; more is no description, but a file pasted by mistake
LIMIT = 0.9  # samples beyond are bent smoothly towards 1, so that nothing clips
FADE_SECONDS = 0.02  # at the end, where the music is cut wherever it is

GuardAction = Literal["refuse", "regenerate", "label"]  # what a guard does with music that does not pass

# Called with the name of what is being made, how much of it is done, and how much there is.
OnProgress = Callable[[str, int, int], None]


class MusicLM:
    """A text-to-music model made of ready parts; see `from_pretrained`.

    Args:
        acoustic: the codec whose codes the coarse and fine stages speak.
        mulan: the joint embedding; its text tower reads the prompt.
        quantizer: turns MuLan embeddings into conditioning tokens.
        semantic, coarse, fine: the three stages.
        settings: how they are sampled.
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
        bundle = Bundle.find(name)
        settings = read_settings(bundle.settings)
        return cls(
            bundle.load("soundstream"),
            bundle.load("mulan"),
            quantizer=bundle.load("mulan_rvq"),
            semantic=prepare_to_decode(bundle.load("semantic"), precision),
            coarse=prepare_to_decode(bundle.load("coarse"), precision),
            fine=prepare_to_decode(bundle.load("fine"), precision),
            settings=settings,
            fingerprint=bundle.fingerprint(),
            trained_on=bundle.entry("semantic").get("trained_on"),
        )

    def generate(
        self,
        prompt: str,
        *,
        seconds: float = 10.0,
        seed: int = 0,
        on_progress: OnProgress | None = None,
        on_semantic: Callable[[Tensor], None] | None = None,
    ) -> Audio:
        """Music in the manner of the prompt: [1, round(seconds * 24000)], the same for the same seed.

        Args:
            prompt: a description in words.
            seconds: length, at most 30.
            seed: another one gives another take.
            on_progress: called as the stages advance.
            on_semantic: called with the semantic tokens [1, 1, T], before any sound is made of them.

        Raises:
            ValueError: the prompt is empty or far too long, or the seconds are out of range.
        """
        blocks = list(
            self.stream(prompt, seconds=seconds, seed=seed, on_progress=on_progress, on_semantic=on_semantic)
        )
        return Audio(torch.cat(blocks, dim=1), self.acoustic.sample_rate)

    def stream(
        self,
        prompt: str,
        *,
        seconds: float = 10.0,
        seed: int = 0,
        on_progress: OnProgress | None = None,
        on_semantic: Callable[[Tensor], None] | None = None,
    ) -> Iterator[Tensor]:
        """Blocks [1, l] of the same audio that `generate` returns, as they are decoded."""
        check_request(prompt, seconds)
        check_seed(seed)
        return self._stream(
            prompt, seconds, seed, on_progress or _say_nothing, on_semantic or (lambda semantic: None)
        )

    @torch.inference_mode()
    def _stream(
        self,
        prompt: str,
        seconds: float,
        seed: int,
        on_progress: OnProgress,
        on_semantic: Callable[[Tensor], None],
    ) -> Iterator[Tensor]:
        generator = torch.Generator().manual_seed(seed)
        length = max(round(seconds * self.acoustic.sample_rate), 1)
        mulan = self.quantizer.encode(self.mulan.embed_text([prompt]))[..., None]  # [1, 12, 1]
        frames = math.ceil(length / self.acoustic.hop_length)
        semantic = self._semantic(mulan, frames, generator, on_progress)  # [1, 1, T]
        on_semantic(semantic)
        yield from self._sound(mulan, semantic, length, generator, on_progress)

    @torch.inference_mode()
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
        generator = torch.Generator().manual_seed(seed)
        blocks = list(self._sound(mulan, semantic, length, generator, _say_nothing))
        return Audio(torch.cat(blocks, dim=1), self.acoustic.sample_rate)

    def _sound(
        self,
        mulan: Tensor,
        semantic: Tensor,
        length: int,
        generator: torch.Generator,
        on_progress: OnProgress,
    ) -> Iterator[Tensor]:
        """Blocks [1, l] of `length` samples in all, from semantic tokens [1, 1, T] that cover them."""
        frames = math.ceil(length / self.acoustic.hop_length)
        decoder = _BlockDecoder(self.acoustic, self.settings.decoder_context)
        made = 0
        for coarse in self._coarse_blocks(mulan, semantic, frames, generator, on_progress):
            codes = torch.cat([coarse, self._fine(coarse, generator, on_progress)], dim=1)  # [1, 12, t]
            made += codes.shape[2]
            block = decoder(codes, last=made == frames)[0]  # [1, l]
            yield _finish(
                block[:, : length - decoder.emitted + block.shape[1]],
                last=made == frames,
                rate=self.acoustic.sample_rate,
            )

    def _semantic(
        self, mulan: Tensor, frames: int, generator: torch.Generator, on_progress: OnProgress
    ) -> Tensor:
        """Semantic tokens [1, 1, T] that cover `frames` acoustic frames."""
        rate = self.semantic.layout.target.frame_rate
        total = math.ceil(frames * rate / self.acoustic.frame_rate)
        window = round(self.settings.semantic_window * rate)
        stride = round(self.settings.semantic_stride * rate)
        tokens = torch.empty(1, 1, 0, dtype=torch.int64)
        while (done := tokens.shape[2]) < total:
            prompt = tokens[:, :, -(window - stride) :] if done else None
            kept = 0 if prompt is None else prompt.shape[2]
            piece = sample(
                self.semantic,
                {"mulan": mulan},
                frames=min(kept + (stride if done else window), kept + total - done),
                prompt=prompt,
                temperature=self.settings.semantic_temperature,
                top_k=self.settings.semantic_top_k,
                guidance=self.settings.semantic_guidance,
                generator=generator,
                on_step=_counting(on_progress, "semantic", done, total),
            )
            tokens = torch.cat([tokens, piece[:, :, kept:]], dim=2)
        return tokens

    def _coarse_blocks(
        self,
        mulan: Tensor,
        semantic: Tensor,
        frames: int,
        generator: torch.Generator,
        on_progress: OnProgress,
    ) -> Iterator[Tensor]:
        """Coarse codes [1, 4, t], block after block, `frames` in all."""
        ratio = self.acoustic.frame_rate / self.semantic.layout.target.frame_rate
        # Windows begin where a semantic token does.
        window = round(self.settings.coarse_window * self.acoustic.frame_rate / ratio) * round(ratio)
        carry = round(self.settings.coarse_carry * self.acoustic.frame_rate / ratio) * round(ratio)
        done, prompt = 0, None
        while done < frames:
            kept = 0 if prompt is None else prompt.shape[2]
            size = min(window, kept + frames - done)
            first = round((done - kept) / ratio)
            last = first + math.ceil(size / ratio) + self.coarse.layout.lookahead
            piece = sample(
                self.coarse,
                {"mulan": mulan, "semantic": semantic[:, :, first:last]},
                frames=size,
                prompt=prompt,
                temperature=self.settings.coarse_temperature,
                top_k=self.settings.coarse_top_k,
                guidance=self.settings.coarse_guidance,
                generator=generator,
                on_step=_counting(on_progress, "coarse", done, frames),
            )
            done += size - kept
            prompt = piece[:, :, -carry:]
            yield piece[:, :, kept:]

    def _fine(self, coarse: Tensor, generator: torch.Generator, on_progress: OnProgress) -> Tensor:
        """Fine codes [1, 8, t] for coarse codes [1, 4, t]: windows of equal length in one batch."""
        total = coarse.shape[2]
        window = min(round(self.settings.fine_window * self.acoustic.frame_rate), total)
        starts = [min(start, total - window) for start in range(0, total, window)]  # the last may overlap
        ahead = self.fine.layout.lookahead  # frames beyond a window; past the end, the last one stands still
        seen = torch.cat([coarse, coarse[:, :, -1:].expand(-1, -1, ahead)], dim=2)
        fine = sample(
            self.fine,
            {"coarse": torch.cat([seen[:, :, start : start + window + ahead] for start in starts])},
            frames=window,
            temperature=self.settings.fine_temperature,
            generator=generator,
            on_step=_counting(on_progress, "fine", 0, window),
        )  # [windows, 8, window]
        overlap = len(starts) * window - total
        pieces = [*fine[:-1], fine[-1, :, overlap:]]
        return torch.cat(pieces, dim=1)[None]


class _BlockDecoder:
    """Decodes codes block by block with the context the codec needs, so that no seam is heard.

    Frames near the end are held back until those after them are known, and decoded again then; the phase runs
    on from the first decoding, and over one hop the second is faded in.
    """

    def __init__(self, acoustic: AcousticTokenizer, context: int) -> None:
        self.acoustic = acoustic
        self.context = context
        self.codes = torch.empty(0)  # [B, Q, t]: context already emitted, then frames held back
        self.ready = 0  # frames of self.codes that are context
        self.begun: Tensor | None = None  # [B, 1, t * hop]: what those frames were decoded to
        self.emitted = 0  # samples

    def __call__(self, codes: Tensor, *, last: bool) -> Tensor:
        """Waveform [B, 1, l] of the frames that will not change any more."""
        self.codes = codes if self.codes.numel() == 0 else torch.cat([self.codes, codes], dim=2)
        end = self.codes.shape[2] - (0 if last else self.context)
        if end <= self.ready:
            return torch.empty(codes.shape[0], 1, 0)
        hop = self.acoustic.hop_length
        waveform = self.acoustic.decode(self.codes, begun=self.begun)
        block = waveform[:, :, self.ready * hop : end * hop]
        if self.begun is not None:
            before = self.begun[:, :, self.ready * hop :][:, :, :hop]  # the same samples, decoded first
            fade = torch.linspace(0, 1, before.shape[2])
            block[:, :, : len(fade)] = torch.lerp(before, block[:, :, : len(fade)], fade)
        start = max(end - self.context, 0)
        self.codes, self.begun, self.ready = (
            self.codes[:, :, start:],
            waveform[:, :, start * hop :],
            end - start,
        )
        self.emitted += block.shape[2]
        return block


def _finish(block: Tensor, *, last: bool, rate: int) -> Tensor:
    """Bend peaks below 1, and fade the very end."""
    excess = (block.abs() - LIMIT).clamp(min=0)
    room = 1 - LIMIT
    block = torch.where(excess > 0, block.sign() * (LIMIT + room * torch.tanh(excess / room)), block)
    if last:
        fade = min(round(FADE_SECONDS * rate), block.shape[1])
        block[:, block.shape[1] - fade :] *= torch.linspace(1, 0, fade)
    return block


def check_request(prompt: str, seconds: float) -> None:
    """Raise ValueError, one line, for what cannot be generated."""
    if not isinstance(prompt, str):
        raise ValueError(f"expected a prompt of words, got {prompt!r}")
    if not prompt.strip():
        raise ValueError('expected a description of music, got an empty prompt; try "a calm violin melody"')
    if len(prompt) > MAX_PROMPT:
        raise ValueError(
            f"expected a prompt of at most {MAX_PROMPT} characters, got {len(prompt)}; shorten it"
        )
    if not (math.isfinite(seconds) and 0 < seconds <= MAX_SECONDS):
        raise ValueError(f"expected seconds above 0 and at most {MAX_SECONDS:g}, got {seconds:g}")


def check_seed(seed: int) -> None:
    """Raise ValueError for what is no seed."""
    if not 0 <= seed < 2**63:
        raise ValueError(f"expected a seed of 0 … 2^63 - 1, got {seed}")


def _counting(on_progress: OnProgress, stage: str, before: int, total: int) -> Callable[[int], None]:
    """What a stage calls with the frames it has begun, `before` having been made by earlier windows."""
    return lambda step: on_progress(stage, min(before + step, total), total)


def _say_nothing(stage: str, done: int, total: int) -> None:
    pass


def generate(
    prompt: str,
    seconds: float = 10.0,
    seed: int = 0,
    bundle: str = "default",
    precision: Precision = "int8",
    out: Path = Path("out.wav"),
    guard: Path | None = None,
    guard_action: GuardAction = "refuse",
    guard_tries: int = 3,
) -> None:
    """Make music from words.

    Args:
        prompt: a description, such as "a calm violin melody over soft piano chords".
        seconds: length, at most 30.
        seed: another one gives another take of the same prompt.
        bundle: a shipped bundle's name, a folder, or a Hugging Face id.
        precision: of the stages' matrices while they decode; fewer bits are faster.
        out: the file to write, .wav or .flac.
        guard: a token store of the training music: what is as near to a recording as a copy does not pass.
        guard_action: refuse what does not pass, regenerate it with the next seeds, or label it in the file.
        guard_tries: seeds in all, to regenerate with.
    """
    import musiclm.audio
    from musiclm.progress import Stages

    check_request(prompt, seconds)
    check_seed(seed)
    musiclm.audio.check_writable(out)
    if guard_tries < 1:
        raise ValueError(f"expected guard_tries of 1 or more, got {guard_tries}")
    model = MusicLM.from_pretrained(bundle, precision=precision)
    comment = ""
    with Stages() as stages:
        if guard is None:
            audio = model.generate(prompt, seconds=seconds, seed=seed, on_progress=stages)
        else:
            from musiclm.audit.guard import Guard

            audio, seed, verdict = Guard.of(guard, model).generate(
                model,
                prompt,
                seconds=seconds,
                seed=seed,
                action=guard_action,
                tries=guard_tries,
                on_progress=stages,
            )
            comment = f", {verdict}"
            print(f"guard: {verdict}", file=sys.stderr)
    comment = f"seed {seed}, bundle {model.fingerprint}{comment}"
    print(audio.save(out, {"title": prompt, "comment": comment, "software": "musiclm"}))
