"""The public sets of captions that papers measure on: their tables, and the recordings that they describe.

MusicCaps (2301.11325) has a caption for 10 s of a video each, Song Describer (2311.10057) several for songs
of two minutes. Both are a csv file; the recordings are the user's to get, and lie in a folder by their ids.
"""

import csv
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from musiclm.data.captions import decode_text
from musiclm.data.left_out import Report
from musiclm.data.sources import Recording
from musiclm.files import shown

SetName = Literal["musiccaps", "song_describer"]
TRUE = ("true", "1", "yes")


@dataclass(frozen=True)
class Columns:
    """Which columns of a set's table say what."""

    recording: str  # the id of the recording
    caption: str
    subset: str  # whether a row is of the part that papers measure on
    id: str | None = None  # of the caption, where a recording has several


COLUMNS: Mapping[SetName, Columns] = {
    "musiccaps": Columns("ytid", "caption", "is_balanced_subset"),
    "song_describer": Columns("track_id", "caption", "is_valid_subset", "caption_id"),
}


@dataclass(frozen=True)
class Item:
    """A caption, and the recording that it describes."""

    id: str
    caption: str
    recording: Recording
    row: int  # of the table, from 0


def read_items(
    name: SetName, table: Path, recordings: Sequence[Recording], report: Report, *, subset: bool = False
) -> list[Item]:
    """The captions of a set whose recordings are there, in the table's order; the others are left out.

    A recording is known by its file's name: the id alone, or the id before what tells its place in the video
    (`ID_30.wav`, `[ID]-[30-40].wav`) or its length (`1000.2min.mp3`).

    Args:
        name: of the set.
        table: its csv file.
        recordings: that there are.
        report: is told of rows without a caption or a recording.
        subset: takes only the part that papers measure on.

    Raises:
        FileNotFoundError: there is no table.
        ValueError: it lacks a column, or no row has a recording.
    """
    columns = COLUMNS[name]
    if not table.is_file():
        raise FileNotFoundError(f"expected the table of {name} at {shown(table)}, found none")
    rows = list(csv.DictReader(io.StringIO(decode_text(table.read_bytes()))))
    needed = {columns.recording, columns.caption} | ({columns.subset} if subset else set())
    if not rows or (missing := sorted(needed - set(rows[0]))):
        lack = "rows" if not rows else f"column {missing[0]!r}"
        raise ValueError(f"expected the csv file of {name} in {shown(table)}, it has no {lack}")
    there = _by_id(recordings)
    items, seen = [], set()
    for place, row in enumerate(rows):
        if subset and (row[columns.subset] or "").strip().lower() not in TRUE:
            continue
        id, caption = (row[columns.recording] or "").strip(), " ".join((row[columns.caption] or "").split())
        own = id if columns.id is None else f"{id}-{(row.get(columns.id) or '').strip()}"
        if own in seen:
            report.leave_out(table.parent / own, f"named twice in {shown(table)}")
        elif not re.fullmatch(r"[\w-][\w.-]*", own):
            report.leave_out(
                table, f"expected an id that can name a file in row {place + 1}, got {own!r:.40}"
            )
        elif not caption:
            report.leave_out(table.parent / own, "it has no caption")
        elif id not in there:
            report.leave_out(table.parent / own, "its recording is not there")
        else:
            items.append(Item(own, caption, there[id], place))
        seen.add(own)
    report.check_any(len(items), shown(table))
    if not items:
        raise ValueError(f"expected captions in {shown(table)}, found none: is it the whole table?")
    return items


def _by_id(recordings: Sequence[Recording]) -> dict[str, Recording]:
    """Recordings by every id that their names may stand for, the surest last."""
    found: dict[str, Recording] = {}
    for guess in (_bracketed, _before_the_place, _before_the_length, _stem):
        found |= {id: each for each in recordings if (id := guess(each.path))}
    return found


def _stem(path: Path) -> str | None:
    return path.stem


def _bracketed(path: Path) -> str | None:
    found = re.match(r"\[(.+?)\]", path.stem)
    return found[1] if found else None


def _before_the_place(path: Path) -> str | None:
    """A video's id is 11 characters, which may hold what separates them from the rest."""
    found = re.match(r"([\w-]{11})[_.-]\d", path.stem)
    return found[1] if found else None


def _before_the_length(path: Path) -> str | None:
    found = re.match(r"(\d+)\.\w+$", path.stem)
    return found[1] if found else None
