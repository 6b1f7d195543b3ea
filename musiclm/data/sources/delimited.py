"""A csv or tsv table of one's own: a column of paths, one of captions, others as labels.

A folder's own `metadata.csv` (with a column `file_name`) is how Hugging Face's AudioFolder has it.
"""

import csv
import io
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from musiclm.data.captions import decode_text
from musiclm.data.left_out import Report
from musiclm.data.sources.named_rows import rows_of
from musiclm.data.sources.options import SourceOptions
from musiclm.data.sources.source import Row
from musiclm.files import shown

IN_A_FOLDER = ("metadata.csv", "metadata.tsv")
ENDINGS = {".csv", ".tsv"}
LONGEST_FIELD = 2**20  # characters


def find(place: Path) -> Path | None:
    """See `Source.find`."""
    if place.suffix.lower() in ENDINGS and os.path.isfile(place):  # which, unlike Path's, never raises
        return place
    return next((place / name for name in IN_A_FOLDER if "file_name" in first_line(place / name)), None)


def read(table: Path, root: Path, options: SourceOptions, report: Report) -> list[Row]:
    """See `Source.read`."""
    header, records = records_of(table)
    return rows_of(records, header, table, root, options, report)


def records_of(table: Path) -> tuple[list[str], Iterator[dict[str, str]]]:
    """The columns of a table, and its rows by column. Cells beyond the header are dropped.

    Raises:
        OSError, ValueError: it cannot be read, or has no header.
    """
    text = decode_text(table.read_bytes())
    tabs = "\t" in text.partition("\n")[0]
    reader = csv.reader(io.StringIO(text, newline=""), delimiter="\t" if tabs else ",")
    csv.field_size_limit(max(csv.field_size_limit(), LONGEST_FIELD))
    try:
        header = [name.strip() for name in next(reader)]
    except (StopIteration, csv.Error) as error:
        raise ValueError(f"expected a header in {shown(table)}: {error or 'it is empty'}") from None
    return header, _records(reader, header, table)


def _records(reader: "Iterator[list[str]]", header: list[str], table: Path) -> Iterator[dict[str, str]]:
    try:
        for cells in reader:
            if cells:
                yield dict(zip(header, cells, strict=False))
    except csv.Error as error:
        raise ValueError(f"expected a table in {shown(table)}, it cannot be read: {error}") from None


def tables_in(place: Path) -> Iterator[Path]:
    """The csv and tsv files that a place is, or that lie in it."""
    if place.suffix.lower() in ENDINGS and os.path.isfile(place):
        yield place
    elif os.path.isdir(place):
        with suppress(OSError):  # a folder that may not be looked into has none
            files = sorted(each for each in place.iterdir() if each.suffix.lower() in ENDINGS)
            yield from (file for file in files if os.path.isfile(file))


def first_line(table: Path) -> str:
    """The header of a table as it is written; "" of what is no text, or no file: a pipe would never end."""
    if not os.path.isfile(table):
        return ""
    try:
        with table.open("rb") as file:
            return decode_text(file.read(2**14)).lstrip("\ufeff").partition("\n")[0].strip()
    except (OSError, ValueError):
        return ""
