"""FMA (1612.01840): `tracks.csv` with two rows of headers, recordings in `000/000002.mp3`."""

import csv
import os
from pathlib import Path

from musiclm.data.captions import decode_text
from musiclm.data.left_out import Report
from musiclm.data.sources.by_id import rows_by_id
from musiclm.data.sources.named_rows import SPLITS
from musiclm.data.sources.options import SourceOptions
from musiclm.data.sources.source import Row
from musiclm.files import shown

TABLES = ("tracks.csv", "fma_metadata/tracks.csv")
LABELS = {
    ("artist", "name"): "artist",
    ("album", "title"): "album",
    ("track", "title"): "title",
    ("track", "genre_top"): "genre",
}


def find(place: Path) -> Path | None:
    """See `Source.find`."""
    candidates = [place, *(place / name for name in TABLES)]
    return next((each for each in candidates if each.name == "tracks.csv" and _is_fma(each)), None)


def read(table: Path, root: Path, options: SourceOptions, report: Report) -> list[Row]:
    """See `Source.read`."""
    said = {}
    with table.open(encoding="utf-8", errors="replace", newline="") as file:  # 260 MB: line by line
        reader = csv.reader(file)
        try:
            columns = {pair: at for at, pair in enumerate(zip(next(reader), next(reader), strict=True))}
            for cells in reader:
                if not cells or not cells[0].isdigit():  # the index's own header
                    continue

                def value(kind: str, name: str, cells: list[str] = cells) -> str:
                    at = columns.get((kind, name))
                    return cells[at].strip() if at is not None and at < len(cells) else ""

                id = f"{int(cells[0]):06d}"
                said[id] = Row(
                    id,
                    table,
                    licence=value("track", "license") or "unknown",
                    split=SPLITS.get(value("set", "split")),
                    labels={name: value(*pair) for pair, name in LABELS.items() if value(*pair)},
                )
        except (csv.Error, StopIteration, ValueError) as error:
            raise ValueError(f"expected FMA's table in {shown(table)}, it cannot be read: {error}") from None
    return rows_by_id(said, table, root, report)


def _is_fma(table: Path) -> bool:
    if not os.path.isfile(table):
        return False
    try:
        with table.open("rb") as file:
            first, second = (decode_text(file.readline(2**16)) for _ in range(2))
    except (OSError, ValueError):
        return False
    return {"set", "track"} <= set(first.strip().split(",")) and "genre_top" in second
