"""`musiclm generate`, `story` and `inpaint`: what is asked is checked, made, and written block by block."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from musiclm.bundle.adapters import paired
from musiclm.cli.making import guarding_of, make
from musiclm.cli.pipe import StreamFormat
from musiclm.generation.decoders import DecoderChoice
from musiclm.generation.request import GuardAction, Keep, Request
from musiclm.generation.story import Story, read_story, read_time, story_of
from musiclm.machine.device import Device
from musiclm.score.controls import Controls
from musiclm.score.plan import read_plan
from musiclm.score.reading import is_score_file, read_score
from musiclm.score.score import PARTS
from musiclm.stages.precision import PrecisionChoice

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
            MusicLM has it. Auto is diffusion, unless adapters are of the other alone.
        steps: passes of the denoiser over a window; without it, as the bundle says.
        bundle: a shipped bundle's name, a folder, or a Hugging Face id.
        adapter: what `musiclm tune` has made of this bundle; several add up.
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
    make(
        request,
        title,
        bundle=bundle,
        adapters=paired(adapter, adapter_scale),
        device=device,
        precision=precision,
        out=out,
        format=format,
        guarding=guarding_of(guard, adapter, guard_action, guard_tries),
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
            MusicLM has it. Auto is diffusion, unless adapters are of the other alone.
        steps: passes of the denoiser over a window; without it, as the bundle says.
        bundle: a shipped bundle's name, a folder, or a Hugging Face id.
        adapter: what `musiclm tune` has made of this bundle; several add up.
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
    make(
        request,
        title,
        bundle=bundle,
        adapters=paired(adapter, adapter_scale),
        device=device,
        precision=precision,
        out=place,
        format=format,
        guarding=guarding_of(guard, adapter, guard_action, guard_tries),
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
        recording: of 1.5 to 600 s, in any format; what is written is mono at 24 kHz.
        prompt: a description of what is to be there; without it, it sounds as what is beside it. A key in it,
            and drums, count; tempo and meter are the recording's.
        from_: where the part begins, such as 0:12 or 12.5.
        to: where it ends.
        region: a part more, such as --region 0:30 0:34.
        seed: another one gives another sample.
        key: from the part's beginning on, such as "A minor"; without it the prompt's, or the recording's.
        drums: yes or no; without it as the prompt says.
        only: what of the recording's own course runs on in the part: beats, keys, chords, drums, as they are
            heard in it; for that it must last 5 s or more.
        num: samples, written to out-1.wav, out-2.wav, ...; the n-th is what --seed SEED+n-1 alone makes.
        steps: passes of the denoiser over a window; without it, as the bundle says.
        bundle: a shipped bundle's name, a folder, or a Hugging Face id; one with a denoiser.
        adapter: what `musiclm tune` has made of this bundle; several add up.
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
    make(
        request,
        f"{recording.name}, inpainted" + (f": {prompt}" if prompt else ""),
        bundle=bundle,
        adapters=paired(adapter, adapter_scale),
        device=device,
        precision=precision,
        out=out,
        format=format,
        guarding=guarding_of(guard, adapter, guard_action, guard_tries),
        decoder="diffusion",
        steps=steps,
    )


def _parts(only: str) -> list[str]:
    """The parts of a score in a list such as beats,chords; none of an empty one."""
    return [part.strip() for part in only.split(",") if part.strip()]
