"""Rows of a table of one's own, of records by column: csv, tsv, and JSON lines."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from musiclm.data.captions import captions_in
from musiclm.data.left_out import Report
from musiclm.data.sources.options import SourceOptions
from musiclm.data.sources.source import Row, Split
from musiclm.files import shown

PATHS = (
    "path", "file_name", "filename", "file", "audio", "audio_path", "audio_filepath", "filepath", "location",
    "wav", "mp3",
)  # fmt: skip
CAPTIONS = ("captions", "caption", "text", "description", "prompt")
TRUTHS = {"true": True, "yes": True, "false": False, "no": False}
LICENCES = ("licence", "license")
SPLITS: Mapping[str, Split] = {
    "train": "train", "training": "train",
    "valid": "valid", "validation": "valid", "val": "valid", "dev": "valid", "test": "valid", "eval": "valid",
}  # fmt: skip


def rows_of(
    records: Iterable[Mapping[str, Any]],
    columns: Iterable[str],
    table: Path,
    root: Path,
    options: SourceOptions,
    report: Report,
) -> list[Row]:
    """A row for each file that the records name; captions of several records of one file go together.

    Raises:
        ValueError: no column says the files, or the one that is asked for is not there.
    """
    names = list(columns)
    paths = _columns(names, PATHS, options.path_column, "path", table)
    if not paths:
        raise ValueError(
            f"expected a column with the files' paths in {shown(table)}, got {', '.join(names)[:200]}: "
            "name it by --source.path_column"
        )
    captioned = _columns(names, CAPTIONS, options.caption_column, "caption", table)
    taken = {*paths[:1], *captioned, *LICENCES, "id", "split"}
    rows: dict[Path, Row] = {}
    for number, record in enumerate(records, 1):
        name = record.get(paths[0])
        if not isinstance(name, str) or not name.strip():
            report.leave_out(table, f"row {number} names no file")
            continue
        name = name.strip()
        try:
            path = options.path_of(name, root)
        except ValueError as error:
            report.leave_out(root / name, error)
            continue
        captions = next(filter(None, (captions_in(record.get(column)) for column in captioned)), ())
        if (row := rows.get(path)) is not None:
            both = dict.fromkeys([*(row.captions or ()), *captions])
            rows[path] = replace(row, captions=tuple(both) if captioned else None)
            continue
        labels = {key: value for key, value in record.items() if key not in taken}
        rows[path] = Row(
            id=str(record.get("id") or Path(name).with_suffix("")).lstrip("/"),
            path=path,
            licence=next((str(record[key]) for key in LICENCES if record.get(key)), "unknown"),
            split=SPLITS.get(str(record.get("split", "")).strip().lower()),
            captions=captions if captioned else None,
            labels={key: _value(value) for key, value in labels.items() if value not in (None, "")},
        )
    return list(rows.values())


def _value(cell: Any) -> Any:
    """A cell of text as the truth or the number that it is; others as they are."""
    if not isinstance(cell, str):
        return cell
    if (word := cell.strip().lower()) in TRUTHS:
        return TRUTHS[word]
    if not re.fullmatch(r"-?\d{1,15}(\.\d{1,15})?", word):
        return cell.strip()
    return float(word) if "." in word else int(word)


def _columns(
    names: list[str], usual: tuple[str, ...], asked: str | None, what: str, table: Path
) -> list[str]:
    """The columns that may say something: the one that is asked for, or those of the usual names.

    Raises:
        ValueError: the one that is asked for is not there.
    """
    if asked is None:
        lower = {name.strip().lower(): name for name in reversed(names)}
        return [lower[name] for name in usual if name in lower]
    if asked not in names:
        raise ValueError(
            f"expected --source.{what}_column to be one of {', '.join(names)[:200]} in {shown(table)}, "
            f"got {asked}"
        )
    return [asked]
