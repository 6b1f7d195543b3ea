"""MusicCaps (2301.11325) and Song Describer (2311.10057): csv files of captions by a recording's id.

MusicCaps has a caption for 10 s of a video each, Song Describer several for songs of two minutes. The
recordings are the user's to get, and lie in a folder by their ids.
"""

from collections import defaultdict
from pathlib import Path

from musiclm.data.left_out import Report
from musiclm.data.sources.by_id import rows_by_id
from musiclm.data.sources.delimited import first_line, records_of, tables_in
from musiclm.data.sources.options import SourceOptions
from musiclm.data.sources.source import Row

COLUMNS = {"ytid": {"ytid", "start_s", "caption"}, "track_id": {"caption_id", "track_id", "caption"}}
LABELS = {"artist_id": "artist", "album_id": "album", "aspect_list": "aspects"}


def find(place: Path) -> Path | None:
    """See `Source.find`."""
    return next((table for table in tables_in(place) if _id_column(first_line(table).split(","))), None)


def read(table: Path, root: Path, options: SourceOptions, report: Report) -> list[Row]:
    """See `Source.read`."""
    header, records = records_of(table)
    column = _id_column(header)
    assert column is not None, "found by it"
    captions: dict[str, dict[str, None]] = defaultdict(dict)
    labels: dict[str, dict[str, str]] = {}
    for record in records:
        if not (id := record.get(column, "").strip()):
            continue
        captions[id] |= dict.fromkeys(filter(None, [" ".join(record.get("caption", "").split())]))
        labels.setdefault(id, {label: record[name] for name, label in LABELS.items() if record.get(name)})
    said = {
        id: Row(id, table, captions=tuple(texts), labels=dict(labels[id])) for id, texts in captions.items()
    }
    return rows_by_id(said, table, root, report)


def _id_column(header: list[str]) -> str | None:
    names = {name.strip().strip('"') for name in header}
    return next((column for column, needed in COLUMNS.items() if needed <= names), None)
