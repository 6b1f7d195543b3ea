"""What every source of recordings is, and what it says of a recording."""

import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from musiclm.data.left_out import Report
from musiclm.data.sources.options import SourceOptions

Split = Literal["train", "valid"]
HELD_OUT_SHARE = 20  # where nothing else is said, one recording in twenty is held out


@dataclass(frozen=True)
class Row:
    """What a table says of a recording.

    Args:
        id: of the recording.
        path: its file.
        licence: of the recording.
        split: None where the table says none.
        captions: None where the table has none for any recording: they may lie beside the files.
        labels: the other columns.
        seconds: as the table says; of a recording, its file is asked.
    """

    id: str
    path: Path
    licence: str = "unknown"
    split: Split | None = None
    captions: tuple[str, ...] | None = None
    labels: dict[str, Any] = field(default_factory=dict)
    seconds: float | None = None


class Source(Protocol):
    """A kind of table; the modules beside this one are such kinds."""

    def find(self, place: Path) -> Path | None:
        """The table of this kind at a place: the place itself, or a file in the folder that it is."""
        ...

    def read(self, table: Path, root: Path, options: SourceOptions, report: Report) -> list[Row]:
        """What a table says of its recordings.

        Args:
            table: the file.
            root: the folder that its paths begin in.
            options: of the reading.
            report: is told of rows that cannot be used.

        Raises:
            ValueError: the table is damaged, or lacks what it must have.
        """
        ...


def split_of(name: str) -> Split:
    """The split of a recording, or of a group of them, by its name alone: the same in any collection."""
    return "valid" if zlib.crc32(name.encode()) % HELD_OUT_SHARE == 0 else "train"
