"""Clips with labels: of the reference corpus, rendered for the purpose, or of a folder with a table."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from musiclm.audio import Audio
from musiclm.corpus.genres import GENRES
from musiclm.corpus.instruments import LEADS
from musiclm.data.left_out import Report
from musiclm.data.sources import Recording, Split, find_recordings
from musiclm.evaluate.listener import MODES, SILENCE
from musiclm.score.labels import score_of_labels
from musiclm.score.score import Score

# Columns of the corpus's table, and what may stand there: the listener knows no other lead or genre.
LABELS: dict[str, Callable[[Any], bool]] = {
    "tempo": lambda value: isinstance(value, int | float) and value > 0,
    "drums": lambda value: isinstance(value, bool),
    "tonic": lambda value: value in range(12),
    "mode": lambda value: value in MODES,
    "lead": lambda value: value in LEADS,
    "genre": lambda value: value in GENRES,
}
RING = 2.0  # seconds of a piece's end, where its last notes die away


@dataclass(frozen=True)
class Clip:
    """A stretch of a recording, mono, what is true of it, and how it is described.

    Args:
        name: of the recording.
        audio: the stretch.
        labels: of it.
        captions: of the recording.
        score: of the stretch, as far as its labels tell.
    """

    name: str
    audio: Audio
    labels: dict[str, Any] = field(default_factory=dict)
    captions: tuple[str, ...] = ()
    score: Score | None = None


def corpus_clips(
    split: Split, count: int, seconds: float, seed: int, *, per_piece: int = 1
) -> Iterator[Clip]:
    """Clips of the first `count` pieces of one split of a corpus, from anywhere but their ends.

    Raises:
        FileNotFoundError: the synthesizer is not installed.
    """
    from musiclm.corpus.synthesis import SAMPLE_RATE

    generator = np.random.default_rng(seed)
    length, ring = (round(each * SAMPLE_RATE) for each in (seconds, RING))
    for row, sound in corpus_pieces(split, count, seed, least=seconds + RING):
        for _ in range(per_piece):
            start = int(generator.integers(0, len(sound) - ring - length))
            part = torch.from_numpy(sound[start : start + length])[None]
            labels = {name: row[name] for name in LABELS}
            score = score_of_labels(row, row["seconds"]).later(-start / SAMPLE_RATE)
            score = replace(score, seconds=seconds)
            yield Clip(row["id"], Audio(part, SAMPLE_RATE), labels, tuple(row["captions"]), score)


def corpus_pieces(
    split: Split, count: int, seed: int, *, least: float
) -> Iterator[tuple[dict[str, Any], np.ndarray]]:
    """The first `count` pieces of one split of a corpus that last longer than `least` seconds.

    Yields:
        The row that the corpus's table has of it, and its sound [L], rendered for the purpose.

    Raises:
        FileNotFoundError: the synthesizer is not installed.
    """
    from musiclm.corpus import synthesis
    from musiclm.corpus.render import MAX_HOURS, pieces
    from musiclm.corpus.table import row_of, split_of

    synthesis.check_installed()
    found = 0
    for index, piece in enumerate(pieces(MAX_HOURS, seed)):
        if found == count:
            return
        long = synthesis.num_samples(piece) > round(least * synthesis.SAMPLE_RATE)
        if split_of(piece, index) == split and long:
            found += 1
            yield row_of(piece, index), synthesis.synthesize(piece)


def folder_clips(audio: Path, count: int, seconds: float, seed: int, report: Report) -> Iterator[Clip]:
    """Clips of a folder's recordings, held-out ones where there are any; each from anywhere in its recording.

    Args:
        audio: the folder; with a `corpus.parquet`, its labels and captions come along.
        count: at most.
        seconds: of each; recordings that are shorter are left out.
        seed: of where they begin.
        report: is told of what is left out.

    Raises:
        FileNotFoundError: nothing at the path.
    """
    recordings = find_recordings(audio, report)
    held_out = [recording for recording in recordings if recording.split == "valid"] or recordings
    generator = np.random.default_rng(seed)
    found = 0
    for recording in held_out:
        if found == count:
            return
        room = recording.seconds - seconds
        if room < 0:
            report.leave_out(recording.path, f"expected {seconds:g} s or more, got {recording.seconds:.1f} s")
            continue
        start = float(generator.uniform(0, room))
        try:
            sound = Audio.load(recording.path, start=start, seconds=seconds).mono()
            check_audible(sound)
        except (ValueError, OSError) as error:
            report.leave_out(recording.path, error)
            continue
        found += 1
        yield Clip(recording.id, sound, _known_labels(recording, report), recording.captions)


def _known_labels(recording: Recording, report: Report) -> dict[str, Any]:
    """The labels that a listener can hear; the report is told of those that none can."""
    known = {}
    for name, may_be in LABELS.items():
        value = recording.labels.get(name)
        if value is not None and may_be(value):
            known[name] = value
        elif value is not None:
            report.warn(recording.path, f"the listener knows no {name} {value!r}: it is not asked for")
    return known


def check_audible(audio: Audio) -> None:
    """Raise ValueError for silence, and for what is not made of numbers."""
    if not audio.waveform.isfinite().all():
        raise ValueError("expected samples that are numbers, some are not (NaN or infinite)")
    if audio.waveform.abs().max() < SILENCE:
        raise ValueError("expected music, it is silent where it is listened to")
