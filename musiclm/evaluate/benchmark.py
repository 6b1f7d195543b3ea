"""MusicLM's table 1 for a bundle: `musiclm evaluate benchmark` on MusicCaps or Song Describer.

A clip is made for every caption; then the folder of clips is judged as in the paper (sec. 5.1): FAD against
the recordings, KLD against each caption's own recording, MCC against the captions. Clips that are there
already are not made again, so that it goes on where it was stopped. The papers' rows stand below, marked as
published: their embeddings, classifiers and recordings are not these.
"""

import json
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache, partial
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from musiclm.bundle import Bundle
from musiclm.data.left_out import LeftOut, Report, reason_of
from musiclm.data.sources import find_recordings
from musiclm.evaluate.benchmark_sets import Item, SetName, read_items
from musiclm.evaluate.embedders import Embedder, embedders, hash_of
from musiclm.evaluate.found import Found
from musiclm.evaluate.labels import Divergence, passt_at
from musiclm.evaluate.pictures import Interval, intervals
from musiclm.evaluate.quality import Distances, Figure, compare, floor_of
from musiclm.evaluate.results import Table, write_results
from musiclm.evaluate.text import Agreement, agreement
from musiclm.files import only_writer_to, shown, write_whole
from musiclm.generation.pipeline import MusicLM
from musiclm.machine.device import Device, choose_device
from musiclm.machine.executors import Executor, choose_executor
from musiclm.notices import PromptNotice
from musiclm.plots import sheet
from musiclm.progress import Progress

ROWS = Path(__file__).with_name("published_rows.yaml")
PROTOCOL = "protocol.json"
COLUMNS = {"fad_joint": "FAD, own", "fad_vggish": "FAD, VGGish", "kld": "KLD", "mcc": "MCC", "clap": "CLAP"}


@dataclass(frozen=True)
class Task:
    """A clip to make."""

    caption: str
    file: Path
    seed: int


@dataclass
class Scores:
    """What was measured, by what measured it."""

    distances: dict[str, Distances] = field(default_factory=dict)  # by the embedding's name
    floors: dict[str, Distances] = field(default_factory=dict)
    agreements: dict[str, Agreement] = field(default_factory=dict)
    kld: Divergence | None = None
    hashes: dict[str, str] = field(default_factory=dict)

    def figures(self) -> dict[str, Interval]:
        """Those of the table, by its columns."""
        found: dict[str, Interval] = {}
        for key, name in (("fad_joint", "joint embedding"), ("fad_vggish", "VGGish")):
            if name in self.distances:
                found[key] = self.distances[name].fad
        if self.kld is not None:
            found["kld"] = self.kld.own
        for key, name in (("mcc", "joint embedding"), ("clap", "CLAP")):
            if name in self.agreements:
                found[key] = self.agreements[name].own
        return found

    def row(self) -> dict[str, str]:
        """The same as text."""
        return {key: str(figure) for key, figure in self.figures().items()}


@only_writer_to("out")
def benchmark(
    name: SetName,
    table: Path,
    clips: Path,
    *,
    bundle: str = "default",
    vggish: Path | None = None,
    clap: Path | None = None,
    passt: Path | None = None,
    out: Path = Path("benchmark"),
    num: int = 0,
    subset: bool = False,
    seconds: float = 10.0,
    seed: int = 0,
    workers: int = 1,
    strict: bool = False,
    device: Device = "auto",
    ray: str | None = None,
) -> None:
    """Make a clip for every caption of MusicCaps or Song Describer, and measure them as MusicLM's table 1
    does.

    Stopped, it goes on where it was: clips that are there are not made again.

    Args:
        name: the set, musiccaps or song_describer.
        table: its csv file of captions.
        clips: a folder of its recordings, named by their ids; captions without one are left out.
        bundle: the model to measure: a shipped bundle's name, a folder, or a Hugging Face id.
        vggish: a published file of VGGish's weights: its FAD as well.
        clap: a published folder of a CLAP: its score, and its FAD as well.
        passt: a published file of PaSST's weights: the KLD.
        out: a folder for the clips, benchmark.json, benchmark.svg and left_out.tsv.
        num: captions to take, from the first on; 0 takes all.
        subset: takes only the part that papers measure on (MusicCaps: balanced; Song Describer: valid).
        seconds: length of a clip.
        seed: of the clip of the table's first row; the n-th row's takes seed + n - 1.
        workers: processes that make clips; each uses all cores that it can. On a GPU there is one.
        strict: exit with 2 if any file is left out.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.
        ray: address of a Ray cluster whose tasks make the clips, or local; they are measured here.

    Raises:
        FileNotFoundError: nothing at one of the paths.
        ValueError: the table is another, no caption has its recording, or the clips in `out` are of another
            model.
    """
    if num < 0 or workers < 1 or seconds <= 0:
        raise ValueError(
            "expected num of 0 or more, workers of 1 or more and seconds above 0, got "
            f"{num}, {workers} and {seconds:g}"
        )
    place = choose_device(device)
    for weights in (vggish, clap, passt):
        if weights is not None:
            hash_of(weights)  # is it there? before long work
    report = Report(out, strict=strict)
    items = read_items(name, table, find_recordings(clips, report), report, subset=subset)[: num or None]
    found = Bundle.find(bundle)
    words = {"set": name, "bundle": found.fingerprint(), "seconds": seconds, "seed": seed}
    _same_protocol(out / PROTOCOL, words)
    generated = out / "generated"
    on = device if ray is not None else str(place)
    executor = choose_executor(ray, workers if on == "cpu" else 1, gpus=on != "cpu")
    make_clips(items, generated, str(found.path), seconds, seed, executor, on, report)
    items = [item for item in items if (generated / f"{item.id}.wav").is_file()]
    report.check_any(len(items), shown(table))

    scores = score(items, generated, bundle, place, vggish=vggish, clap=clap, passt=passt)
    rows = yaml.safe_load(ROWS.read_text(encoding="utf-8"))[name]
    print(format_table(scores.row(), rows, len(items)))
    for embedding, floor in scores.floors.items():
        print(f"real against real, {embedding}: FAD {floor.fad}, KAD {floor.kad}")
    for embedding, pairs in scores.agreements.items():
        print(f"captions of others, {embedding}: {pairs.shuffled}")
    if scores.kld is not None:
        print(f"recordings of others, KLD: {scores.kld.shuffled}")
    content = {
        **words,
        "bundle": {"name": bundle, "fingerprint": found.fingerprint()},
        "items": len(items),
        "hashes": scores.hashes,
        "distances": {key: asdict(each) for key, each in scores.distances.items()},
        "real_against_real": {key: asdict(each) for key, each in scores.floors.items()},
        "agreements": {key: asdict(each) for key, each in scores.agreements.items()},
        "kld": None if scores.kld is None else asdict(scores.kld),
        "published": rows,
        "left_out": len(report.left_out),
    }
    shown_rows = table_of(scores, rows, name, len(items))
    print(write_results(out / "benchmark.json", "evaluate benchmark", content, shown_rows))
    write_whole(out / "benchmark.svg", chart(scores, rows).encode())
    print(out / "benchmark.svg")
    report.close(len(items))


def make_clips(
    items: Sequence[Item],
    folder: Path,
    bundle: str,
    seconds: float,
    seed: int,
    executor: Executor,
    device: Device,
    report: Report,
) -> None:
    """Make the clips that are not there yet, each with its caption beside it."""
    folder.mkdir(exist_ok=True)
    tasks = [Task(item.caption, folder / f"{item.id}.wav", seed + item.row) for item in items]
    missing = [task for task in tasks if not task.file.is_file()]
    make = partial(_make_clip, bundle=bundle, seconds=seconds, device=device)
    with Progress("generate", len(missing), unit="clip") as counter:
        for left_out in executor.run(make, missing):
            if left_out is not None:
                report.leave_out(left_out.path, left_out.reason)
            counter.advance()


@cache
def _model(bundle: str, device: str) -> MusicLM:
    """That of a process."""
    return MusicLM.from_pretrained(bundle, device=device)


def _make_clip(task: Task, bundle: str, seconds: float, device: str) -> LeftOut | None:
    """Make a clip; a caption that cannot be followed must not stop the others."""
    model = _model(bundle, device)
    try:
        with warnings.catch_warnings():
            # Of captions that are not the user's, one notice each would say little.
            warnings.simplefilter("ignore", PromptNotice)
            audio = model.generate(task.caption, seconds=seconds, seed=task.seed)
    except ValueError as error:
        return LeftOut(task.file, reason_of(error))
    write_whole(task.file.with_suffix(".txt"), f"{task.caption}\n".encode())
    audio.save(task.file, {"title": task.caption})  # last: a clip that is there is whole
    return None


def score(
    items: Sequence[Item],
    generated: Path,
    bundle: str,
    device: torch.device,
    *,
    vggish: Path | None = None,
    clap: Path | None = None,
    passt: Path | None = None,
) -> Scores:
    """FAD, KLD, MCC and CLAP score of the clips of some captions."""
    # Only the clips of these captions, in case the folder has more, and each recording once.
    made = Found.at([generated / f"{item.id}.wav" for item in items])
    real = Found.at(sorted({item.recording.path for item in items}))
    scores = Scores()
    for embedder in embedders(bundle, device, vggish=vggish, clap=clap):
        first, second = (list(_by_path(embedder, each).values()) for each in (made, real))
        scores.hashes[embedder.name] = embedder.hash
        scores.distances[embedder.name] = compare(first, second)
        scores.floors[embedder.name] = floor_of(second)
        if embedder.name != "VGGish":  # which knows no text
            scores.agreements[embedder.name] = agreement(embedder, made)
    if passt is not None:
        classifier = passt_at(passt, device)
        ours, theirs = (_by_path(classifier, each) for each in (made, real))
        clips = {item.id: ours.get(generated / f"{item.id}.wav") for item in items}
        recordings = {item.id: theirs.get(item.recording.path) for item in items}
        scores.kld = Divergence.of(_known(clips), _known(recordings))
        scores.hashes[classifier.name] = classifier.hash
    return scores


def _by_path(embedder: Embedder, found: Found) -> dict[Path, Tensor]:
    paths = {recording.id: recording.path for recording in found.recordings}
    return {paths[id]: windows for id, windows in embedder.embed(found).items()}


def _known(vectors: Mapping[str, Tensor | None]) -> dict[str, Tensor]:
    return {id: windows for id, windows in vectors.items() if windows is not None}


def format_table(ours: Mapping[str, str], rows: Sequence[Mapping[str, Any]], count: int) -> str:
    """Our row, and the papers' below it."""
    keys = [key for key in COLUMNS if key in ours or any(key in row for row in rows)]
    lines = [f"{'':<50}" + "".join(f"{COLUMNS[key]:>26}" for key in keys)]
    lines.append(
        f"{f'this bundle, {count} captions':<50}" + "".join(f"{ours.get(key, '-'):>26}" for key in keys)
    )
    for row in rows:
        name = f"{row['system']} (published)"
        lines.append(f"{name:<50}" + "".join(f"{row.get(key, '-')!s:>26}" for key in keys))
    return "\n".join(lines)


def table_of(scores: Scores, rows: Sequence[Mapping[str, Any]], name: str, count: int) -> Table:
    """What the model card shows of it."""
    ours = scores.row()
    keys = [key for key in COLUMNS if key in ours or any(key in row for row in rows)]
    lines = [["this bundle", "measured", *(ours.get(key, "-") for key in keys)]]
    lines += [
        [row["system"], f"published: {row['source']}", *(str(row.get(key, "-")) for key in keys)]
        for row in rows
    ]
    return Table(
        f"{name}, {count} captions",
        ["system", "from", *(COLUMNS[key] for key in keys)],
        lines,
        ["Published figures are by other embeddings, classifiers and recordings than these."],
    )


def chart(scores: Scores, rows: Sequence[Mapping[str, Any]]) -> str:
    """Every column with our figure and the published ones: an SVG file."""
    panels = []
    for key, figure in scores.figures().items():
        published = {f"{row['system'][:10]}*": Figure(row[key]) for row in rows if key in row}
        panels.append(intervals(f"{COLUMNS[key]} (*: published)", {"ours": figure, **published}))
    known = [panel for panel in panels if panel is not None]
    return sheet(known, "Our figures, and what papers say of themselves")


def _same_protocol(file: Path, words: Mapping[str, Any]) -> None:
    """Note how the clips of a folder are made, or refuse to go on with others."""
    if file.is_file():
        before = json.loads(file.read_text(encoding="utf-8"))
        odd = [key for key, value in words.items() if before.get(key) != value]
        if odd:
            raise ValueError(
                f"expected to go on as the clips in {shown(file.parent)} were made, with {odd[0]} "
                f"{before.get(odd[0])}, got {words[odd[0]]}: name another folder"
            )
        return
    write_whole(file, json.dumps(words, indent=2).encode())
