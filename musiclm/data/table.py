"""The table of a corpus, `corpus.parquet`: which recordings there are, their captions, splits and labels.

Only `id` and `path` (relative to the table's folder) must be there; `licence`, `split` and `captions` may be
missing or null, and all other columns are labels.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

TABLE_NAME = "corpus.parquet"
KNOWN = {"id", "path", "seconds", "licence", "split", "captions"}

Split = Literal["train", "valid"]


@dataclass(frozen=True)
class Row:
    id: str
    path: Path
    licence: str
    split: Split | None  # None: as for recordings without a table
    captions: tuple[str, ...]
    labels: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None  # as the table says; of a recording, its file is asked


def read_table(folder: Path) -> list[Row]:
    """The rows of a folder's table.

    Raises:
        ValueError: the table is damaged, or lacks a column or a value that it must have.
    """
    import pyarrow
    import pyarrow.parquet

    file = folder / TABLE_NAME
    try:
        table = pyarrow.parquet.read_table(file)
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"expected a table of recordings in {file}, it cannot be read: {error}") from None
    for name in ("id", "path"):
        if name not in table.column_names or table.column(name).null_count:
            raise ValueError(f"expected {name!r} of every recording in {file}, got recordings without")
    return [_row(folder, entry) for entry in table.to_pylist()]


def _row(folder: Path, entry: dict[str, Any]) -> Row:
    captions = entry.get("captions") or ()
    split, seconds = entry.get("split"), entry.get("seconds")
    if split is not None and split not in get_args(Split):
        raise ValueError(
            f"expected the splits train and valid in {folder / TABLE_NAME}, {entry['id']!r} has {split!r}"
        )
    return Row(
        id=str(entry["id"]),
        path=folder / str(entry["path"]),
        licence=entry.get("licence") or "unknown",
        split=split,
        captions=(captions,) if isinstance(captions, str) else tuple(filter(None, captions)),
        labels={name: value for name, value in entry.items() if name not in KNOWN},
        seconds=float(seconds) if isinstance(seconds, int | float) else None,
    )
