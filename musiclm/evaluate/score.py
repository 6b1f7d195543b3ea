"""How well is the score of a recording heard? `musiclm evaluate score`.

A bundle's score listener hears whole recordings whose beats, chords, key and drums are known: held-out pieces
of the reference corpus, or a folder whose table has them. Of recordings without such labels nobody knows what
is right; there it says how often another listener, which shares nothing with this one, hears the same.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from musiclm.audio import Audio
from musiclm.bundle import Bundle
from musiclm.data.left_out import Report
from musiclm.data.sources import find_recordings
from musiclm.evaluate.labelled_clips import check_audible, corpus_pieces
from musiclm.evaluate.listener import Listener
from musiclm.evaluate.results import Table, write_results
from musiclm.files import only_writer_to
from musiclm.machine.device import Device, choose_device
from musiclm.metrics.statistics import mean_interval
from musiclm.metrics.tempo import judge
from musiclm.progress import progress
from musiclm.score.agreement import agreement
from musiclm.score.bars import plan_of_score
from musiclm.score.labels import score_of_labels
from musiclm.score.listener import ScoreListener
from musiclm.score.score import Score, what_at

LONGEST = 120.0  # seconds of a recording that are heard
SHORTEST = 10.0
TITLES = {
    "beat": "beats, F",
    "downbeat": "downbeats, F",
    "meter": "beats in the bar",
    "root": "chord roots",
    "chord": "major, minor triads",
    "key": "key",
    "drums": "drums",
    "other_tempo": "another listener's bpm ±4 %",
    "other_octave": "another listener's bpm or octave",
    "other_key": "another listener's key",
    "other_drums": "another listener's drums",
}


@dataclass(frozen=True)
class Piece:
    """A recording, and what is true of its course; of one without labels, nothing."""

    name: str
    audio: Audio
    true: Score


@only_writer_to("out")
def score(
    bundle: str = "default",
    audio: Path | None = None,
    pieces: int = 40,
    seed: int = 0,
    out: Path = Path("score"),
    strict: bool = False,
    device: Device = "auto",
) -> None:
    """Print how much of the score of recordings a bundle's listener hears rightly.

    Args:
        bundle: whose score listener: a shipped bundle's name, a folder, or a Hugging Face id.
        audio: recordings; without labels of their course, another listener's word is taken. By default
            held-out pieces of the reference corpus are rendered.
        pieces: how many recordings at most.
        seed: of the corpus.
        out: the folder for score.json.
        strict: exit with 2 if any recording is left out.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.

    Raises:
        FileNotFoundError: nothing at one of the paths.
        ValueError: the bundle has no score listener, or there is nothing to hear.
    """
    if pieces < 1:
        raise ValueError(f"expected 1 piece or more, got {pieces}")
    source = Bundle.find(bundle)
    if "score_listener" not in source.components:
        raise ValueError(f"expected a bundle with the component score_listener, {bundle} has none")
    place = choose_device(device)
    listener: ScoreListener = source.load("score_listener").to(place)
    report = Report(out, strict=strict)
    found = corpus(pieces, seed) if audio is None else folder(audio, pieces, report)
    other = Listener.load()
    rows = [judged(each, listener, other) for each in progress(found, total=pieces, description="recordings")]
    report.check_any(len(rows), str(audio))
    figures = {
        name: np.array([row[name] for row in rows if name in row])
        for name in TITLES
        if any(name in row for row in rows)
    }
    where = f"the reference corpus of seed {seed}, held out" if audio is None else str(audio)
    print(f"{len(rows)} recordings of {where}; score listener {source.fingerprint('score_listener')}")
    print(format_table(figures))
    content = {
        "figures": {
            name: {
                "value": float(values.mean()),
                "interval": list(mean_interval(values)),
                "count": len(values),
            }
            for name, values in figures.items()
        },
        "reference": where,
        "seed": seed,
        "bundle": {"name": bundle, "fingerprint": source.fingerprint()},
        "score_listener": source.fingerprint("score_listener"),
    }
    print(write_results(out / "score.json", "evaluate score", content, table_of(figures)))
    if audio is not None:
        report.close(len(rows))


def corpus(pieces: int, seed: int) -> Iterator[Piece]:
    """Held-out pieces of the reference corpus."""
    from musiclm.corpus.synthesis import SAMPLE_RATE

    for row, sound in corpus_pieces("valid", pieces, seed, least=SHORTEST):
        audio = Audio(torch.from_numpy(sound)[None], SAMPLE_RATE)
        yield Piece(row["id"], audio, score_of_labels(row, audio.seconds))


def folder(audio: Path, pieces: int, report: Report) -> Iterator[Piece]:
    """The first recordings of a folder, held-out ones where there are any; of long ones the beginning."""
    recordings = find_recordings(audio, report)
    held_out = [recording for recording in recordings if recording.split == "valid"]
    labelled = [recording for recording in held_out if recording.labels] or recordings
    found = 0
    for recording in labelled:
        if found == pieces:
            return
        try:
            if recording.seconds < SHORTEST:
                raise ValueError(f"expected {SHORTEST:g} s or more, got {recording.seconds:.1f} s")
            sound = Audio.load(recording.path, seconds=min(recording.seconds, LONGEST)).mono()
            check_audible(sound)
            true = score_of_labels(recording.labels, sound.seconds)
        except (ValueError, OSError) as error:
            report.leave_out(recording.path, error)
            continue
        found += 1
        yield Piece(recording.id, sound, true)


def judged(piece: Piece, listener: ScoreListener, other: Listener) -> dict[str, float]:
    """How right what is heard of a recording is, 0 … 1 in each respect that anything is known of."""
    waveform = piece.audio.resample(listener.sample_rate).waveform[None]
    heard = listener.hear(waveform)
    if piece.true.known:
        return agreement(heard, piece.true)
    told, plan = other.hear(piece.audio), plan_of_score(heard)
    middle = piece.audio.seconds / 2
    key, drums = what_at(heard.keys, middle), what_at(heard.drums, middle)
    verdict = "wrong" if plan is None else judge(plan.sections[0].bpm, told.tempo)
    return {
        "other_tempo": float(verdict == "right"),
        "other_octave": float(verdict != "wrong"),
        "other_key": float(str(key) == told.key),
        "other_drums": float(drums == told.drums),
    }


def format_table(figures: Mapping[str, np.ndarray]) -> str:
    """A line for each figure, with its 95 % interval."""
    lines = []
    for name, values in figures.items():
        low, high = mean_interval(values)
        lines.append(f"{TITLES[name]:<34}{values.mean():6.3f} ({low:.3f}-{high:.3f}), {len(values)}")
    return "\n".join(lines)


def table_of(figures: Mapping[str, np.ndarray]) -> Table:
    """What the model card shows of it."""
    rows = []
    for name, values in figures.items():
        low, high = mean_interval(values)
        rows.append([TITLES[name], f"{values.mean():.2f} ({low:.2f} to {high:.2f})", str(len(values))])
    return Table("How well scores are heard", ["what", "right, 95 % interval", "recordings"], rows)
