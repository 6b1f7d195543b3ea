"""`musiclm generate` and `musiclm story`: what is asked for is checked, made, and written block by block."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from torch import Tensor

import musiclm.audio
from musiclm.performance import Performance
from musiclm.pipe import StreamFormat, check_pipe, writing_to_pipe
from musiclm.pipeline import MusicLM
from musiclm.progress import Stages
from musiclm.request import GuardAction, Keep, Request
from musiclm.stages.precision import Precision
from musiclm.story import Story, read_story, story_of

STDOUT = Path("-")


def generate(
    prompt: str = "",
    *,
    seconds: float | None = None,
    seed: int = 0,
    melody: Path | None = None,
    continue_: Path | None = None,
    num: int = 1,
    keep: Keep | None = None,
    bundle: str = "default",
    precision: Precision = "int8",
    out: Path = Path("out.wav"),
    format: StreamFormat = "wav",
    guard: Path | None = None,
    guard_action: GuardAction = "refuse",
    guard_tries: int = 3,
) -> None:
    """Make music from words.

    Args:
        prompt: a description, such as "a calm violin melody over soft piano chords"; with --continue, it may
            be left out.
        seconds: length of what is new, at most 600; without it 10, or the melody's.
        seed: another one gives another take of the same prompt.
        melody: a recording of 1 to 60 s, sung, hummed or played, whose melody is followed; after its end the
            music goes on by itself.
        continue_: a recording of 1 to 600 s to go on from; the result begins with it, and its last 0.1 s are
            cross-faded with what follows.
        num: takes in one batch, written to out-1.wav, out-2.wav, ...; the n-th draws with seed + n - 1.
        keep: semantic lets all takes share their semantic tokens, and only the sound is made anew.
        bundle: a shipped bundle's name, a folder, or a Hugging Face id.
        precision: of the stages' matrices while they decode; fewer bits are faster.
        out: the file to write, .wav or .flac, or - for standard output, as the music is made.
        format: of standard output; raw is 16-bit little-endian mono at 24 kHz without a header.
        guard: a token store of the training music: what is as near to a recording as a copy does not pass.
        guard_action: refuse what does not pass, regenerate it with the next seeds, or label it in the file.
        guard_tries: seeds in all, to regenerate with.
    """
    request = Request(prompt, seconds, seed, num, keep, melody=melody, clip=continue_)
    title = prompt or f"continuation of {Path(continue_ or '').name}"
    if guard is None:
        _make(request, title, bundle=bundle, precision=precision, out=out, format=format)
        return
    musiclm.audio.check_writable(out)
    if guard_tries < 1:
        raise ValueError(f"expected guard_tries of 1 or more, got {guard_tries}")
    if (melody, continue_, num, keep) != (None, None, 1, None):
        raise ValueError("expected one take of words alone to --guard, got a form that it does not look at")
    from musiclm.audit.guard import Guard

    model = MusicLM.from_pretrained(bundle, precision=precision)
    with Stages() as stages:
        audio, seed, verdict = Guard.of(guard, model).generate(
            model,
            prompt,
            seconds=request.length,
            seed=seed,
            action=guard_action,
            tries=guard_tries,
            on_progress=stages,
        )
    print(f"guard: {verdict}", file=sys.stderr)
    comment = f"seed {seed}, bundle {model.fingerprint}, {verdict}"
    print(audio.save(out, {"title": title, "comment": comment, "software": "musiclm"}))


def story(
    story: Path | None = None,
    *,
    at: Sequence[tuple[str, str]] = (),
    seconds: float | None = None,
    seed: int | None = None,
    blend: float | None = None,
    bundle: str = "default",
    precision: Precision = "int8",
    out: Path | None = None,
    format: StreamFormat = "wav",
) -> None:
    """Make music whose description changes as it goes on.

    Args:
        story: a YAML file, a list of {at: 0:15, text: ...} under `story`; it may also give seconds, seed,
            blend and out, which the command line overrules.
        at: instead of a file, a time and a text for each part: --at 0:00 "a calm violin" --at 0:15 "techno".
        seconds: length in all, at most 600; without it 15 beyond where the last part begins.
        seed: another one gives another take.
        blend: seconds over which a part's text is blended into from the one before; without it, it switches.
        bundle: a shipped bundle's name, a folder, or a Hugging Face id.
        precision: of the stages' matrices while they decode; fewer bits are faster.
        out: the file to write, .wav or .flac, or - for standard output, as the music is made.
        format: of standard output; raw is 16-bit little-endian mono at 24 kHz without a header.
    """
    if (story is None) == (not at):
        raise ValueError('expected a story: a YAML file, or --at 0:00 "a calm violin" --at 0:15 "techno"')
    told = story_of(at) if story is None else read_story(story)
    given = Story(told.parts, seconds, seed, blend, out)
    told = replace(told, **{name: value for name, value in vars(given).items() if value is not None})
    request = Request(told.parts, told.seconds, told.seed or 0, blend=told.blend or 0.0)
    title = " / ".join(text for _, text in told.parts)
    place = told.out or Path("out.wav")
    _make(request, title, bundle=bundle, precision=precision, out=place, format=format)


def _make(
    request: Request, title: str, *, bundle: str, precision: Precision, out: Path, format: StreamFormat
) -> None:
    """Make what was asked for, and print where it is."""
    files = [out] if request.num == 1 else [out.with_stem(f"{out.stem}-{n + 1}") for n in range(request.num)]
    if out == STDOUT:
        if request.num > 1:
            raise ValueError(f"expected one take for standard output, got --num {request.num}: name a file")
        check_pipe()
    else:
        for file in files:
            musiclm.audio.check_writable(file)
    model = MusicLM.from_pretrained(bundle, precision=precision)
    with Stages() as stages:
        performance = model.perform(request, stages)
        if out == STDOUT:
            with writing_to_pipe(performance.sample_rate, performance.length, format) as write:
                for block in performance:
                    write(block[0])
            return
        with _writing(files, performance, request, title, model.fingerprint) as write_all:
            for block in performance:
                write_all(block)
    print(*files, sep="\n")


@contextmanager
def _writing(
    files: Sequence[Path], performance: Performance, request: Request, title: str, fingerprint: str
) -> Iterator[Callable[[Tensor], None]]:
    """A function that appends blocks [N, 1, l], a row to each file."""
    with ExitStack() as stack:
        writers = []
        for take, file in enumerate(files):
            seed = f"seed {request.seed + take}"
            if request.keep == "semantic":
                seed = f"seed {request.seed}, sound of {seed}"
            words = {"title": title, "comment": f"{seed}, bundle {fingerprint}", "software": "musiclm"}
            writers.append(stack.enter_context(musiclm.audio.writing(file, performance.sample_rate, words)))

        def write(block: Tensor) -> None:
            for writer, row in zip(writers, block, strict=True):
                writer(row)

        yield write
