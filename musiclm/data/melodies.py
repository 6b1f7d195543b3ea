"""Melodies on disk (`musiclm corpus melodies`): each in several versions, and what is sung when.

A version's notes say which pitch class sounds at any moment; the same beat of two versions is the same place
of the melody.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from musiclm.audio import inspect
from musiclm.corpus.melodies import TABLE_NAME
from musiclm.data.left_out import Report, reason_of
from musiclm.data.sources import Split
from musiclm.files import shown

SILENCE = 12  # the class beside the twelve pitch classes
LABEL_SECONDS = 0.1  # between two labels


@dataclass(frozen=True)
class Version:
    kind: str  # "original", "tempo", "instrument", "hum", "whistle"
    tempo: float  # beats per minute
    seconds: float
    lead: Path
    band: Path | None
    starts: np.ndarray  # seconds, ascending
    ends: np.ndarray
    pitches: np.ndarray  # MIDI numbers

    def pitch_classes(self, start: float, seconds: float) -> np.ndarray:
        """What sounds, 0 … 11 or SILENCE, every LABEL_SECONDS of `seconds` from `start` on: int64."""
        times = start + (np.arange(round(seconds / LABEL_SECONDS)) + 0.5) * LABEL_SECONDS
        last = np.searchsorted(self.starts, times, side="right") - 1  # the note begun last
        sounds = (last >= 0) & (times < self.ends[last])
        return np.where(sounds, self.pitches[last] % 12, SILENCE).astype(np.int64)


@dataclass(frozen=True)
class Melody:
    id: str  # of the piece
    split: Split
    versions: dict[str, Version]  # by their kinds

    @property
    def beats(self) -> float:
        """Length of the shortest version."""
        return min(version.seconds * version.tempo / 60 for version in self.versions.values())


def find_melodies(folder: Path, report: Report | None = None) -> list[Melody]:
    """The melodies of a folder, in its table's order. One with a file that cannot be used is left out whole.

    Args:
        folder: made by `musiclm corpus melodies`.
        report: is told of what is left out; without one, it is only printed.

    Raises:
        FileNotFoundError: the folder has no table of melodies.
        ValueError: none can be used, or not all and the report is strict.
    """
    report = report or Report()
    import pyarrow.parquet

    table = Path(folder) / TABLE_NAME
    if not table.is_file():
        raise FileNotFoundError(
            f"expected a folder with {TABLE_NAME}, found none at {folder}: "
            "render one (`musiclm corpus melodies`)"
        )
    versions: dict[str, dict[str, Version]] = {}
    splits: dict[str, Split] = {}
    for row in pyarrow.parquet.read_table(table).to_pylist():
        starts = np.array(row["starts"])
        version = Version(
            kind=row["version"],
            tempo=row["tempo"],
            seconds=row["seconds"],
            lead=table.parent / row["lead"],
            band=table.parent / row["band"] if row["band"] else None,
            starts=starts,
            ends=starts + np.array(row["durations"]),
            pitches=np.array(row["pitches"]),
        )
        versions.setdefault(row["piece"], {})[version.kind] = version
        splits[row["piece"]] = row["split"]
    melodies = [Melody(id, splits[id], own) for id, own in versions.items()]
    whole = [melody for melody in melodies if _is_usable(melody, report)]
    report.check(len(whole), shown(Path(folder)))
    return whole


def _is_usable(melody: Melody, report: Report) -> bool:
    """Whether all files of a melody can be read."""
    files = [file for version in melody.versions.values() for file in (version.lead, version.band) if file]
    for file in files:
        try:
            inspect(file)
        except (ValueError, OSError) as error:
            report.leave_out(file, f"{reason_of(error)}; its melody is left out in all versions")
            return False
    return True


def agreement(classes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """How much of the time labels [..., T] say the same as `others`, 0 … 1; silence does not count."""
    heard = (classes != SILENCE) | (others != SILENCE)
    return ((classes == others) & heard).sum(-1) / np.maximum(heard.sum(-1), 1)
