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
from musiclm.data.sources.by_id import by_id
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

    A recording is known by its file's name (`musiclm/data/sources/by_id.py`).

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
    by_path = {recording.path: recording for recording in recordings}
    there = {id: by_path[path] for id, path in by_id(by_path).items()}
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
