"""Where does a model lose what a listener hears? `musiclm evaluate ladder`.

Labelled clips go through the model step by step: through the codec, from their own semantic tokens, from
their own audio embedding, from their caption. At every step a listener (`listener.py`) says what it still
hears, so that the first step at which a column falls names the part to train. The first row, the clips
themselves, is the most that the listener can find, and what another clip's labels give is the least.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from musiclm.bundle import Bundle
from musiclm.data.left_out import Report
from musiclm.evaluate.labelled_clips import Clip, corpus_clips, folder_clips
from musiclm.evaluate.ladder_steps import CODEC, TRUE_PHASES, Step, steps_of
from musiclm.evaluate.ladder_table import (
    Row,
    Sound,
    chart,
    format_lost,
    format_table,
    lost_from,
    row_of,
    table_of,
    take_in,
)
from musiclm.evaluate.listener import SHORTEST, Listener, fingerprint
from musiclm.evaluate.results import write_results
from musiclm.files import only_writer_to, write_whole
from musiclm.generation.decoders import DecoderChoice, DecoderName
from musiclm.generation.pipeline import MusicLM
from musiclm.generation.token_decoder import TokenDecoder
from musiclm.machine.cpus import usable_cpus
from musiclm.machine.device import Device, choose_device
from musiclm.machine.executors import choose_executor
from musiclm.progress import Progress, progress

LONGEST = 30.0  # seconds of a clip
FEWEST = 2  # clips: one has no other to be compared with


@dataclass(frozen=True)
class Ladder:
    """What was measured: a row per step, in order, and of how many clips it is."""

    rows: dict[str, Row]
    counts: dict[str, int]


@only_writer_to("out")
def ladder(
    bundle: str = "default",
    audio: Path | None = None,
    clips: int = 60,
    seconds: float = 10.0,
    seed: int = 0,
    out: Path = Path("ladder"),
    keep: bool = False,
    strict: bool = False,
    workers: int = 0,
    device: Device = "auto",
    decoder: DecoderChoice = "auto",
    ray: str | None = None,
) -> None:
    """Print what of labelled clips is still heard after each part of a model, and where it is lost.

    Args:
        bundle: the model to judge: a shipped bundle's name, a folder, or a Hugging Face id.
        audio: recordings with labels and captions (`corpus.parquet`); columns whose labels are missing are
            left out. By default held-out pieces of the reference corpus are rendered, which takes a minute.
        clips: how many.
        seconds: of each, 5 to 30.
        seed: of the corpus, of where clips begin, and of what is drawn.
        out: the folder for ladder.json and ladder.svg.
        keep: whether to write every step's sound there too.
        strict: exit with 2 if any recording is left out.
        workers: processes; 0 takes one per CPU that may be used. On a GPU there is always one.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.
        decoder: of a bundle that makes sound in two ways: tokens or diffusion; auto is diffusion.
        ray: address of a Ray cluster whose tasks make and measure the clips, on its CPUs, or local.

    Raises:
        FileNotFoundError: nothing at one of the paths.
        ValueError: fewer than two clips, or of a length that cannot be listened to.
    """
    check_lengths(clips, seconds)
    if workers < 0:
        raise ValueError(f"expected workers of 0 or more, got {workers}")
    on_cpu = choose_device(device).type == "cpu"
    listener, model = Listener.load(), MusicLM.from_pretrained(bundle, device=device, decoder=decoder)
    report = Report(out, strict=strict)
    chosen = read_clips(audio, clips, seconds, seed, report)
    workers = (workers or usable_cpus()) if on_cpu else 1
    kept = out if keep else None
    measured = climb(model, listener, chosen, seed=seed, keep=kept, workers=workers, ray=ray)
    place = "the reference corpus, held out" if audio is None else str(audio)
    print(
        f"{len(chosen)} clips of {seconds:g} s of {place}, seed {seed}; bundle {bundle} ({model.fingerprint})"
    )
    print(format_table(measured.rows))
    print()
    print(format_lost(measured.rows))
    content = {
        **as_json(measured),
        "clips": len(chosen),
        "seconds": seconds,
        "seed": seed,
        "sample_rate": model.sample_rate,
        "reference": place,
        "bundle": {"name": bundle, "fingerprint": model.fingerprint},
        "listener": fingerprint(),
    }
    print(write_results(out / "ladder.json", "evaluate ladder", content, table_of(measured.rows)))
    write_whole(out / "ladder.svg", chart(measured.rows).encode())
    print(out / "ladder.svg")
    if audio is not None:
        report.close(len(chosen))


def check_lengths(clips: int, seconds: float) -> None:
    """Raise ValueError for clips that cannot be compared."""
    if clips < FEWEST or not SHORTEST <= seconds <= LONGEST:
        raise ValueError(
            f"expected {FEWEST} clips or more of {SHORTEST:g} to {LONGEST:g} s, got {clips} of {seconds:g} s"
        )


def read_clips(audio: Path | None, count: int, seconds: float, seed: int, report: Report) -> list[Clip]:
    """The clips that are asked about.

    Raises:
        FileNotFoundError, ValueError: there are not two of them.
    """
    source = (
        corpus_clips("valid", count, seconds, seed)
        if audio is None
        else folder_clips(audio, count, seconds, seed, report)
    )
    chosen = list(progress(source, total=count, description="clips"))
    if len(chosen) < FEWEST:
        report.check_any(0, str(audio))
        raise ValueError(
            f"expected {FEWEST} recordings of {seconds:g} s or more in {audio}, got {len(chosen)}"
        )
    return chosen


def climb(
    model: MusicLM,
    listener: Listener,
    clips: Sequence[Clip],
    *,
    seed: int = 0,
    keep: Path | None = None,
    workers: int = 1,
    ray: str | None = None,
) -> Ladder:
    """What is heard of the clips at every step.

    Args:
        model: whose steps they are.
        listener: who hears.
        clips: two or more, of one length.
        seed: of what is drawn for the first clip; the n-th takes seed + n.
        keep: a folder for the sound of every step.
        workers: processes, each with the model on one CPU; of a model that is from no bundle, one.
        ray: address of a Ray cluster in their place; not of such a model.
    """
    captions, scores = all(clip.captions for clip in clips), all(clip.score for clip in clips)
    ways = steps_of(model, captions=captions, scores=scores)
    steps = list(ways)
    tasks = [
        Task(name, number, index, clip, seed + index, keep)
        for number, name in enumerate(steps)
        for index, clip in enumerate(clips)
    ]
    work: Callable[[Task], Outcome]
    if (workers > 1 or ray is not None) and model.bundle is not None:
        decoder: DecoderName = "tokens" if isinstance(model.decoder, TokenDecoder) else "diffusion"
        work = partial(
            _done_alone, bundle=model.bundle.path, decoder=decoder, captions=captions, scores=scores
        )
    else:
        work, workers, ray = partial(_done, listener=listener, steps=ways), 1, None
    sounds: dict[str, dict[int, Sound]] = {name: {} for name in steps}
    with Progress("ladder", len(tasks), unit="clip") as counter:
        for step, index, sound in choose_executor(ray, workers).run(work, tasks):
            if sound is not None:
                sounds[step][index] = sound
            counter.advance()
    originals = sounds[steps[0]]
    rows, counts = {}, {}
    for name, heard in sounds.items():
        kept = sorted(heard)
        if kept:
            rows[name] = row_of(
                [heard[n] for n in kept], [originals[n] for n in kept], [clips[n].labels for n in kept]
            )
            counts[name] = len(kept)
    if TRUE_PHASES in rows and rows[TRUE_PHASES] == rows[CODEC]:  # a codec that knows its phases
        del rows[TRUE_PHASES], counts[TRUE_PHASES]
    return Ladder(rows, counts)


@dataclass(frozen=True)
class Task:
    """One clip at one step.

    Args:
        step, number: its name and its place.
        index: of the clip.
        clip: itself.
        seed: of what is drawn.
        keep: a folder for its sound.
    """

    step: str
    number: int
    index: int
    clip: Clip
    seed: int
    keep: Path | None


Outcome = tuple[str, int, Sound | None]  # of a task: its step, its clip, what is heard


def _done(task: Task, *, listener: Listener, steps: Mapping[str, Step]) -> Outcome:
    """What is heard; nothing, and a line that says why, of a clip without a melody to follow, say."""
    try:
        made = steps[task.step](task.clip, task.seed)
    except ValueError as error:
        tqdm.write(f"left out: {task.clip.name}: {error}", file=sys.stderr)
        return task.step, task.index, None
    if task.keep is not None:
        title = {"title": f"{task.clip.name}: {task.step}"}
        made.save(task.keep / f"{task.number + 1}-{task.index:03d}.wav", title)
    return task.step, task.index, take_in(listener, made)


@cache
def _loaded(
    bundle: Path, decoder: DecoderName, captions: bool, scores: bool
) -> tuple[Listener, dict[str, Step]]:
    """What a process of several works with, on a CPU of its own."""
    torch.set_num_threads(1)
    model = MusicLM.from_bundle(Bundle(bundle), device="cpu", decoder=decoder)
    return Listener.load(), steps_of(model, captions=captions, scores=scores)


def _done_alone(task: Task, *, bundle: Path, decoder: DecoderName, captions: bool, scores: bool) -> Outcome:
    """The same, in a process of several."""
    listener, steps = _loaded(bundle, decoder, captions, scores)
    return _done(task, listener=listener, steps=steps)


def as_json(measured: Ladder) -> Mapping[str, Any]:
    """The figures by step and column."""
    return {
        "steps": [
            {
                "name": name,
                "clips": measured.counts[name],
                "columns": {column: asdict(cell) for column, cell in row.items()},
            }
            for name, row in measured.rows.items()
        ],
        "lost_from": lost_from(measured.rows),
    }
