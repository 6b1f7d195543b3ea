"""Music that a command asks for: made, guarded, and written block by block."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from musiclm.audio import check_writable, writing
from musiclm.bundle.adapters import TUNED_ON
from musiclm.cli.pipe import StreamFormat, check_pipe, writing_to_pipe
from musiclm.data.store import DESCRIPTION
from musiclm.generation.course import Course
from musiclm.generation.decoders import DecoderChoice, unheard, with_steps
from musiclm.generation.pipeline import MusicLM
from musiclm.generation.request import GuardAction, Guarding, Request
from musiclm.generation.windows import OnProgress
from musiclm.machine.device import Device
from musiclm.progress import Stages
from musiclm.score.plan import write_plan
from musiclm.stages.precision import PrecisionChoice

STDOUT = Path("-")
NO_GUARD = Path("no")
PLAN_FILES = (".yaml", ".yml")


def guarding_of(
    guard: Path | None, adapters: Sequence[Path], action: GuardAction, tries: int
) -> Guarding | None:
    """What the music is compared with: what the user names, and what adapters were tuned on."""
    if guard == NO_GUARD:
        return None
    beside = [adapter / TUNED_ON for adapter in adapters if (adapter / TUNED_ON / DESCRIPTION).is_file()]
    stores = list(dict.fromkeys([*([] if guard is None else [guard]), *beside]))
    return Guarding(stores, action, tries) if stores else None


def make(
    request: Request,
    title: str,
    *,
    bundle: str,
    adapters: Sequence[tuple[Path, float]],
    device: Device,
    precision: PrecisionChoice,
    out: Path,
    format: StreamFormat,
    guarding: Guarding | None,
    save_plan: Path | None = None,
    decoder: DecoderChoice = "auto",
    steps: int | None = None,
) -> None:
    """Make what was asked for, and print where it is."""
    files = [out] if request.num == 1 else [out.with_stem(f"{out.stem}-{n + 1}") for n in range(request.num)]
    if out == STDOUT:
        if request.num > 1:
            raise ValueError(f"expected one sample for standard output, got --num {request.num}: name a file")
        check_pipe()
    else:
        for file in files:
            check_writable(file)
    if save_plan is not None:
        check_writable(save_plan, endings=PLAN_FILES)
    model = MusicLM.from_pretrained(
        bundle, device=device, precision=precision, adapters=adapters, decoder=decoder
    )
    if decoder != "auto" and model.adapters and (left := unheard(model.decoder, model.adapters.changed)):
        names = ", ".join(role.removesuffix("_stage") for role in left)
        print(f"not heard: what adapters learned for the {names}, which makes no sound here", file=sys.stderr)
    if steps is not None:
        model.decoder = with_steps(model.decoder, steps)
    with Stages() as stages:
        if guarding is None:
            stream = model.perform(request, stages)
            if save_plan is not None:
                _save_plan(stream.courses, save_plan)
            seeds = range(request.seed, request.seed + request.num)
            music = Music(stream, stream.sample_rate, stream.length, [Made(seed) for seed in seeds])
        else:
            music = _guarded(request, model, guarding, stages)
            if save_plan is not None:
                _save_plan(model.courses(replace(request, seed=music.made[0].seed)), save_plan)
            for file, made in zip(files, music.made, strict=True):
                name = f"{file}: " if len(files) > 1 else ""
                print(f"guard: {name}{made.verdict}", file=sys.stderr)
        if out == STDOUT:
            with writing_to_pipe(music.sample_rate, music.length, format) as write:
                for block in music.blocks:
                    write(block[0])
        else:
            first = music.made[0].seed
            words = f", {steps} steps" if steps is not None else ""
            said = [_metadata(request, title, model, made, first, words) for made in music.made]
            _write(files, music, said)
    if out != STDOUT:
        print(*files, sep="\n")


def _save_plan(courses: Sequence[Course], path: Path) -> None:
    plan = courses[0].plan if courses else None
    if plan is None:
        raise ValueError(
            "expected music that follows a plan, this model makes none: give one with --plan, or choose "
            "another --bundle"
        )
    write_plan(plan, path)


@dataclass(frozen=True)
class Made:
    """A sample's seed, and what a guard says of it."""

    seed: int
    verdict: str = ""


@dataclass(frozen=True)
class Music:
    """Blocks [N, 1, l] of N samples, `length` long in all, on their way into files or a pipe."""

    blocks: Iterable[Tensor]
    sample_rate: int
    length: int
    made: Sequence[Made]  # of each sample


def _guarded(request: Request, model: MusicLM, guarding: Guarding, on_progress: OnProgress) -> Music:
    """The music in one block, when all of it has passed the guard."""
    from musiclm.audit.guard import Guard

    samples = Guard.of(guarding.tokens, model).generate(
        model, request, action=guarding.action, tries=guarding.tries, on_progress=on_progress
    )
    whole = torch.stack([sample.audio.waveform for sample in samples])  # [N, 1, L]
    made = [Made(sample.seed, str(sample.verdict)) for sample in samples]
    return Music([whole], samples[0].audio.sample_rate, whole.shape[2], made)


def _write(files: Sequence[Path], music: Music, metadata: Sequence[dict[str, str]]) -> None:
    """A file for each sample, block by block as the music comes; all of them or none."""
    with ExitStack() as stack:
        writers = [
            stack.enter_context(writing(file, music.sample_rate, words))
            for file, words in zip(files, metadata, strict=True)
        ]
        for block in music.blocks:  # [N, 1, l]
            for writer, row in zip(writers, block, strict=True):
                writer(row)


def _metadata(
    request: Request, title: str, model: MusicLM, made: Made, first: int, more: str
) -> dict[str, str]:
    """What a file says of a sample; `first` is the seed of the first one, `more` what else made it."""
    words = f"seed {made.seed}"
    if request.keep == "semantic":
        words = f"seed {first}, sound of {words}"
    if request.regions:
        words += f", anew {', '.join(f'{begin:g} to {end:g} s' for begin, end in request.regions)}"
    words = f"{words}, bundle {model.fingerprint}{more}" + (f", {made.verdict}" if made.verdict else "")
    return {"title": title, "comment": words, "software": "musiclm"}
