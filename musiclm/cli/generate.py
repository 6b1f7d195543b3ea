"""`musiclm generate`, `story` and `inpaint`: what is asked is checked, made, and written block by block."""

import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from musiclm.audio import check_writable, writing
from musiclm.bundle.adapters import TUNED_ON, paired
from musiclm.cli.pipe import StreamFormat, check_pipe, writing_to_pipe
from musiclm.data.store import DESCRIPTION
from musiclm.generation.course import Course
from musiclm.generation.decoders import DecoderChoice, with_steps
from musiclm.generation.pipeline import MusicLM
from musiclm.generation.request import GuardAction, Guarding, Keep, Request
from musiclm.generation.story import Story, read_story, read_time, story_of
from musiclm.generation.windows import OnProgress
from musiclm.machine.device import Device
from musiclm.progress import Stages
from musiclm.score.controls import Controls
from musiclm.score.plan import read_plan, write_plan
from musiclm.score.reading import is_score_file, read_score
from musiclm.score.score import PARTS
from musiclm.stages.precision import PrecisionChoice

STDOUT = Path("-")
NO_GUARD = Path("no")
PLAN_FILES = (".yaml", ".yml")
YesNo = Literal["yes", "no"]


def generate(
    prompt: str = "",
    *,
    seconds: float | None = None,
    seed: int = 0,
    melody: Path | None = None,
    continue_: Path | None = None,
    like: Path | None = None,
    bpm: float | None = None,
    meter: str | None = None,
    key: str | None = None,
    chords: str | None = None,
    drums: YesNo | None = None,
    plan: Path | None = None,
    save_plan: Path | None = None,
    follow: Path | None = None,
    only: str = ",".join(PARTS),
    num: int = 1,
    keep: Keep | None = None,
    decoder: DecoderChoice = "auto",
    steps: int | None = None,
    bundle: str = "default",
    adapter: Sequence[Path] = (),
    adapter_scale: Sequence[float] = (),
    device: Device = "auto",
    precision: PrecisionChoice = "auto",
    out: Path = Path("out.wav"),
    format: StreamFormat = "wav",
    guard: Path | None = None,
    guard_action: GuardAction = "refuse",
    guard_tries: int = 3,
) -> None:
    """Make music from words.

    Args:
        prompt: a description, such as "a calm violin melody over soft piano chords"; with --continue or
            --like, it may be left out. What counts are words like those of the captions that the model was
            trained on; of the default model: instruments, genres (techno, waltz, rock, jazz, ambient, folk,
            classical, reggae, bossa nova, blues, hip hop), moods (calm, sad, dreamy, ...), tempo (slow, fast,
            120 bpm), with or without drums; also keys, metres and scenes (for a rainy day). Other things that
            a prompt excludes are not left out: "no piano" asks for a piano.
        seconds: length of what is new, at most 600; without it 10, or the melody's.
        seed: another one gives another sample of the same prompt.
        melody: a recording of 1 to 60 s, sung, hummed or played, whose melody is followed; after its end the
            music goes on by itself.
        continue_: a recording of 1 to 600 s to go on from; the result begins with it, and its last 0.1 s are
            cross-faded with what follows.
        like: a recording of 1 to 600 s that the music is to be like: what it sounds like says what a prompt
            would; with a prompt, the music is to be halfway between the two.
        bpm: tempo in beats per minute, 40 to 240. This and the next four count more than what the prompt
            says; what neither says, the model plans.
        meter: of the bars, such as 4/4 or 3/4.
        key: such as "A minor", "F# minor" or "Bb major".
        chords: such as "Am F C G", a bar each, or "Am | F G | C" with bar lines; they are played round.
        drums: yes or no.
        plan: a file of the music's bars, as --save_plan writes it: tempo, meter, key, and chords to change.
        save_plan: where the plan that the music follows is written.
        follow: a recording of 5 to 600 s whose beats, keys, chords and drums are followed; or a MIDI file, or
            a list of beats (a line each: seconds, number in the bar).
        only: the parts of it that are followed, such as beats,chords.
        num: samples in one batch, written to out-1.wav, out-2.wav, ...; the n-th is what --seed SEED+n-1
            alone makes.
        keep: semantic lets all samples share their semantic tokens, and only the sound is made anew.
        decoder: what makes sound of the semantic tokens, in a bundle that has both: diffusion, or tokens, as
            MusicLM has it. Auto is diffusion, unless an adapter is of the other.
        steps: passes of the denoiser over a window; without it, as the bundle says.
        bundle: a shipped bundle's name, a folder, or a Hugging Face id.
        adapter: what `musiclm tune` has made of the bundle's own stages; several add up.
        adapter_scale: how far an adapter changes them: 1 as it was trained, 0 not at all; once for all
            adapters, or once for each.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.
        precision: of the stages' matrices while they decode; fewer bits are faster; auto is int8 on a CPU and
            bfloat16 on CUDA.
        out: the file to write, .wav or .flac, or - for standard output, as the music is made.
        format: of standard output; raw is 16-bit little-endian mono at 24 kHz without a header.
        guard: a token store of the training music: what is as near to a recording as a copy does not pass. It
            looks at 5 s or more of new music in every form, and nothing is written before all has passed, to
            standard output neither. What `musiclm tune` has made is guarded without asking; `no` is no guard.
        guard_action: refuse what does not pass (all samples, if one does not), regenerate it with the next
            seeds, or label it in the file and on standard error.
        guard_tries: seeds in all for each sample, to regenerate with.
    """
    if save_plan is not None and num > 1:
        raise ValueError(f"expected one sample to save the plan of, got --num {num}: each has its own")
    request = Request(
        prompt,
        seconds,
        seed,
        num,
        keep,
        melody=melody,
        continue_=continue_,
        like=like,
        controls=Controls.of(
            bpm=bpm, meter=meter, key=key, chords=chords, drums=None if drums is None else drums == "yes"
        ),
        plan=None if plan is None else read_plan(plan),
        follow=read_score(follow) if follow is not None and is_score_file(follow) else follow,
        only=_parts(only),
    )
    title = prompt or (f"continuation of {continue_.name}" if continue_ else f"like {Path(like or '').name}")
    _make(
        request,
        title,
        bundle=bundle,
        adapters=paired(adapter, adapter_scale),
        device=device,
        precision=precision,
        out=out,
        format=format,
        guarding=_guarding(guard, adapter, guard_action, guard_tries),
        save_plan=save_plan,
        decoder=decoder,
        steps=steps,
    )


def story(
    story: Path | None = None,
    *,
    at: Sequence[tuple[str, str]] = (),
    seconds: float | None = None,
    seed: int | None = None,
    blend: float | None = None,
    decoder: DecoderChoice = "auto",
    steps: int | None = None,
    bundle: str = "default",
    adapter: Sequence[Path] = (),
    adapter_scale: Sequence[float] = (),
    device: Device = "auto",
    precision: PrecisionChoice = "auto",
    out: Path | None = None,
    format: StreamFormat = "wav",
    guard: Path | None = None,
    guard_action: GuardAction = "refuse",
    guard_tries: int = 3,
) -> None:
    """Make music whose description changes as it goes on.

    Args:
        story: a YAML file, a list of {at: 0:15, text: ...} under `story`; a section may have bpm, meter, key,
            chords and drums beside its text. The file may also give seconds, seed, blend and out, which the
            command line overrules.
        at: instead of a file, a time and a text for each section: --at 0:00 "a calm violin" --at 0:15
            "techno".
        seconds: length in all, at most 600; without it 15 beyond where the last section begins.
        seed: another one gives another sample.
        blend: seconds over which a section's text is blended into from the one before; without it, it
            switches.
        decoder: what makes sound of the semantic tokens, in a bundle that has both: diffusion, or tokens, as
            MusicLM has it. Auto is diffusion, unless an adapter is of the other.
        steps: passes of the denoiser over a window; without it, as the bundle says.
        bundle: a shipped bundle's name, a folder, or a Hugging Face id.
        adapter: what `musiclm tune` has made of the bundle's own stages; several add up.
        adapter_scale: how far an adapter changes them: 1 as it was trained, 0 not at all; once for all
            adapters, or once for each.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.
        precision: of the stages' matrices while they decode; fewer bits are faster; auto is int8 on a CPU and
            bfloat16 on CUDA.
        out: the file to write, .wav or .flac, or - for standard output, as the music is made.
        format: of standard output; raw is 16-bit little-endian mono at 24 kHz without a header.
        guard: a token store of the training music: what is as near to a recording as a copy does not pass.
            Nothing is written before all has passed, to standard output neither. What `musiclm tune` has
            made is guarded without asking; `no` is no guard.
        guard_action: refuse what does not pass, regenerate it with the next seeds, or label it in the file
            and on standard error.
        guard_tries: seeds in all, to regenerate with.
    """
    if (story is None) == (not at):
        raise ValueError('expected a story: a YAML file, or --at 0:00 "a calm violin" --at 0:15 "techno"')
    told = story_of(at) if story is None else read_story(story)
    given = Story(told.sections, told.controls, seconds, seed, blend, out)
    told = replace(told, **{name: value for name, value in vars(given).items() if value is not None})
    request = Request(
        told.sections, told.seconds, told.seed or 0, blend=told.blend or 0.0, controls=told.controls
    )
    title = " / ".join(text for _, text in told.sections)
    place = told.out or Path("out.wav")
    _make(
        request,
        title,
        bundle=bundle,
        adapters=paired(adapter, adapter_scale),
        device=device,
        precision=precision,
        out=place,
        format=format,
        guarding=_guarding(guard, adapter, guard_action, guard_tries),
        decoder=decoder,
        steps=steps,
    )


def inpaint(
    recording: Path,
    prompt: str = "",
    *,
    from_: str | None = None,
    to: str | None = None,
    region: Sequence[tuple[str, str]] = (),
    seed: int = 0,
    key: str | None = None,
    drums: YesNo | None = None,
    only: str = "beats,keys",
    num: int = 1,
    steps: int | None = None,
    bundle: str = "default",
    adapter: Sequence[Path] = (),
    adapter_scale: Sequence[float] = (),
    device: Device = "auto",
    precision: PrecisionChoice = "auto",
    out: Path = Path("out.wav"),
    format: StreamFormat = "wav",
    guard: Path | None = None,
    guard_action: GuardAction = "refuse",
    guard_tries: int = 3,
) -> None:
    """Make a part of a recording anew, in time with the rest, which stays as it is but for fades of 50 ms.

    Args:
        recording: of 1 to 600 s, in any format; what is written is mono at 24 kHz.
        prompt: a description of what is to be there; without it, it sounds as what is beside it.
        from_: where the part begins, such as 0:12 or 12.5.
        to: where it ends.
        region: a part more, such as --region 0:30 0:34.
        seed: another one gives another sample.
        key: from the part's beginning on, such as "A minor"; without it the recording's.
        drums: yes or no; without it as the prompt says.
        only: what of the recording's own course runs on in the part: beats, keys, chords, drums, as they are
            heard in it.
        num: samples, written to out-1.wav, out-2.wav, ...; the n-th is what --seed SEED+n-1 alone makes.
        steps: passes of the denoiser over a window; without it, as the bundle says.
        bundle: a shipped bundle's name, a folder, or a Hugging Face id; one with a denoiser.
        adapter: what `musiclm tune` has made of the bundle's own stages; several add up.
        adapter_scale: how far an adapter changes them: 1 as it was trained, 0 not at all; once for all
            adapters, or once for each.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.
        precision: of the stages' matrices while they decode; fewer bits are faster; auto is int8 on a CPU and
            bfloat16 on CUDA.
        out: the file to write, .wav or .flac, or - for standard output.
        format: of standard output; raw is 16-bit little-endian mono at 24 kHz without a header.
        guard: a token store of the training music: what is as near to a recording as a copy does not pass. It
            looks at the parts together, which must be 5 s or more. What `musiclm tune` has made is guarded
            without asking; `no` is no guard.
        guard_action: refuse what does not pass, regenerate it with the next seeds, or label it in the file
            and on standard error.
        guard_tries: seeds in all for each sample, to regenerate with.
    """
    if (from_ is None) != (to is None):
        raise ValueError("expected --from and --to together, such as --from 0:12 --to 0:20")
    pairs = [*region, *([] if from_ is None or to is None else [(from_, to)])]
    request = Request(
        prompt,
        seed=seed,
        num=num,
        controls=Controls.of(key=key, drums=None if drums is None else drums == "yes"),
        only=_parts(only),
        inpaint=recording,
        regions=sorted((read_time(begin), read_time(end)) for begin, end in pairs),
    )
    _make(
        request,
        f"{recording.name}, inpainted" + (f": {prompt}" if prompt else ""),
        bundle=bundle,
        adapters=paired(adapter, adapter_scale),
        device=device,
        precision=precision,
        out=out,
        format=format,
        guarding=_guarding(guard, adapter, guard_action, guard_tries),
        decoder="diffusion",
        steps=steps,
    )


def _parts(only: str) -> list[str]:
    """The parts of a score in a list such as beats,chords; none of an empty one."""
    return [part.strip() for part in only.split(",") if part.strip()]


def _guarding(
    guard: Path | None, adapters: Sequence[Path], action: GuardAction, tries: int
) -> Guarding | None:
    """What the music is compared with: what the user names, and what adapters were tuned on."""
    if guard == NO_GUARD:
        return None
    beside = [adapter / TUNED_ON for adapter in adapters if (adapter / TUNED_ON / DESCRIPTION).is_file()]
    stores = list(dict.fromkeys([*([] if guard is None else [guard]), *beside]))
    return Guarding(stores, action, tries) if stores else None


def _make(
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
            _write(files, music, [_metadata(request, title, model, made, first) for made in music.made])
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


def _metadata(request: Request, title: str, model: MusicLM, made: Made, first: int) -> dict[str, str]:
    """What a file says of a sample; `first` is the seed of the first one."""
    words = f"seed {made.seed}"
    if request.keep == "semantic":
        words = f"seed {first}, sound of {words}"
    words = f"{words}, bundle {model.fingerprint}" + (f", {made.verdict}" if made.verdict else "")
    return {"title": title, "comment": words, "software": "musiclm"}
