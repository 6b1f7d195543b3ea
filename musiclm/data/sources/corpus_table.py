"""The table of a corpus, `corpus.parquet`: which recordings there are, their captions, splits and labels.

Only `id` and `path` (relative to the table's folder) must be there; `licence`, `split` and `captions` may be
missing or null, and all other columns are labels.
"""

import os
from pathlib import Path
from typing import Any, get_args

from musiclm.data.left_out import Report
from musiclm.data.sources.options import SourceOptions
from musiclm.data.sources.source import Row, Split
from musiclm.files import shown

TABLE_NAME = "corpus.parquet"
KNOWN = {"id", "path", "seconds", "licence", "split", "captions"}


def find(place: Path) -> Path | None:
    """See `Source.find`."""
    candidates = [place / TABLE_NAME, *([place] if place.name == TABLE_NAME else [])]
    return next((each for each in candidates if os.path.isfile(each)), None)


def read(table: Path, root: Path, options: SourceOptions, report: Report) -> list[Row]:
    """See `Source.read`."""
    import pyarrow
    import pyarrow.parquet

    try:
        columns = pyarrow.parquet.read_table(table)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(
            f"expected a table of recordings in {shown(table)}, it cannot be read: {error}"
        ) from None
    for name in ("id", "path"):
        if name not in columns.column_names or columns.column(name).null_count:
            raise ValueError(
                f"expected {name!r} of every recording in {shown(table)}, got recordings without"
            )
    rows = []
    for entry in columns.to_pylist():
        try:
            path = options.path_of(str(entry["path"]), root)
        except ValueError as error:
            report.leave_out(root / str(entry["path"]), error)
        else:
            rows.append(_row(table, path, entry))
    return rows


def read_table(folder: Path) -> list[Row]:
    """The rows of a folder's table.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, or lacks a column or a value that it must have.
    """
    table = folder / TABLE_NAME
    if not table.is_file():
        raise FileNotFoundError(f"expected a table of recordings, there is no {shown(table)}")
    return read(table, folder, SourceOptions(), Report())


def _row(table: Path, path: Path, entry: dict[str, Any]) -> Row:
    captions = entry.get("captions") or ()
    split, seconds = entry.get("split"), entry.get("seconds")
    if split is not None and split not in get_args(Split):
        raise ValueError(
            f"expected the splits train and valid in {shown(table)}, {entry['id']!r} has {split!r}"
        )
    return Row(
        id=str(entry["id"]),
        path=path,
        licence=entry.get("licence") or "unknown",
        split=split,
        captions=(captions,) if isinstance(captions, str) else tuple(filter(None, captions)),
        labels={name: value for name, value in entry.items() if name not in KNOWN},
        seconds=float(seconds) if isinstance(seconds, int | float) else None,
    )
