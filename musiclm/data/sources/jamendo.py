"""MTG-Jamendo (Bogdanov et al., 2019): `autotagging.tsv`, recordings in `48/948.mp3` or `48/948.low.mp3`.

TRACK_ID  ARTIST_ID  ALBUM_ID  PATH  DURATION  TAGS, each in a cell of its own: genre---rock, ...
"""

from collections import defaultdict
from pathlib import Path

from musiclm.data.captions import decode_text
from musiclm.data.left_out import Report
from musiclm.data.sources.by_id import rows_by_id
from musiclm.data.sources.delimited import first_line, tables_in
from musiclm.data.sources.options import SourceOptions
from musiclm.data.sources.source import Row

HEADER = ["TRACK_ID", "ARTIST_ID", "ALBUM_ID", "PATH", "DURATION", "TAGS"]


def find(place: Path) -> Path | None:
    """See `Source.find`."""
    return next((table for table in tables_in(place) if first_line(table).split("\t")[:6] == HEADER), None)


def read(table: Path, root: Path, options: SourceOptions, report: Report) -> list[Row]:
    """See `Source.read`."""
    said = {}
    for number, line in enumerate(decode_text(table.read_bytes()).splitlines()[1:], 2):
        cells = [cell.strip() for cell in line.split("\t")]
        if len(cells) < len(HEADER) - 1:
            report.leave_out(table, f"line {number} has {len(cells)} cells, expected {len(HEADER)} or more")
            continue
        _, artist, album, path, _, *tags = cells
        labels: dict[str, list[str]] = defaultdict(list)
        for tag in filter(None, tags):
            kind, _, name = tag.partition("---")
            labels[kind].append(name or kind)
        id = Path(path).name.split(".")[0]
        said[id] = Row(id, table, labels={"artist": artist, "album": album} | dict(labels))
    return rows_by_id(said, table, root, report)
