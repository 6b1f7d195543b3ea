"""A table of JSON lines: AudioCraft's manifests (`path`, `info_path`), Hugging Face's `metadata.jsonl`."""

import gzip
import json
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

from musiclm.data.captions import read_sidecar
from musiclm.data.left_out import Report
from musiclm.data.sources.delimited import first_line
from musiclm.data.sources.named_rows import rows_of
from musiclm.data.sources.options import SourceOptions
from musiclm.data.sources.source import Row

IN_A_FOLDER = ("metadata.jsonl",)
ENDINGS = (".jsonl", ".jsonl.gz", ".ndjson")


def find(place: Path) -> Path | None:
    """See `Source.find`."""
    if place.name.lower().endswith(ENDINGS) and os.path.isfile(place):  # which, unlike Path's, never raises
        return place
    return next((place / name for name in IN_A_FOLDER if '"file_name"' in first_line(place / name)), None)


def read(table: Path, root: Path, options: SourceOptions, report: Report) -> list[Row]:
    """See `Source.read`."""
    records = list(_records(table, root, options, report))
    columns = dict.fromkeys(name for record in records for name in record)
    return rows_of(records, columns, table, root, options, report) if records else []


def _records(table: Path, root: Path, options: SourceOptions, report: Report) -> Iterator[dict[str, Any]]:
    with gzip.open(table) if table.suffix == ".gz" else table.open("rb") as lines:
        for number, line in enumerate(lines, 1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = None
            if not isinstance(record, dict):
                report.leave_out(table, f"line {number} is no object of JSON")
                continue
            yield _with_info(record, root, options)


def _with_info(record: dict[str, Any], root: Path, options: SourceOptions) -> dict[str, Any]:
    """A record with the captions of the file that AudioCraft keeps them in."""
    info = record.pop("info_path", None)
    if isinstance(info, dict):  # as AudioCraft writes a path inside a zip: not read
        return record
    if isinstance(info, str) and "captions" not in record:
        with suppress(ValueError, OSError):
            record["captions"] = list(read_sidecar(options.path_of(info, root)))
    return record
