"""What a token store already holds: a recording is known by its content, and tokenized once.

A file that was moved, or whose captions or split have changed, keeps its tokens; one with other content under
the same name does not. Rows of a time when no hashes were kept are made again.
"""

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from musiclm.data.sources import Recording, as_text, content_hash
from musiclm.data.store import SOURCE, SourceFile, StoreDescription, TokenRow, read_shard, row_of, shards_of

SAID = ("id", "path", "licence", "split", "captions", *SOURCE)  # columns that are no tokens


class KnownRows:
    """The rows of a store, by the files they were made from.

    Shards are mapped, and stay readable while others are written in their places.
    """

    def __init__(self, folder: Path, description: StoreDescription) -> None:
        self._description = description
        self._tables = {path: read_shard(path) for path in shards_of(folder)}
        self._places: dict[str, tuple[Path, int]] = {}  # by hash: the shard, the row in it
        self._hashes: dict[tuple[str, int, int], str] = {}  # by path, size and time of change
        self._sizes: set[int] = set()
        for path, table in self._tables.items():
            if table is None or not set(SOURCE) <= set(table.column_names):
                continue  # broken, or of a time when no hashes were kept
            for number, said in enumerate(table.select(SAID).to_pylist()):
                if said["hash"]:
                    self._places[said["hash"]] = (path, number)
                    file = (said["path"], said["size"], said["modified"])
                    self._hashes[file] = said["hash"].partition("@")[0]
                    self._sizes.add(said["size"])

    def row(self, recording: Recording) -> TokenRow | None:
        """The row of a recording with the tokens that are there, None where its content is new.

        Raises:
            OSError: the recording cannot be read.
        """
        status = recording.path.stat()
        if status.st_size not in self._sizes:
            return None
        file = (as_text(str(recording.path)), status.st_size, status.st_mtime_ns)
        hash = _of_piece(self._hashes.get(file) or _hash_of(recording.path, *file[1:]), recording)
        if hash not in self._places:
            return None
        path, number = self._places[hash]
        row = row_of(self._tables[path], number, self._description)
        return said_of(replace(row, source=SourceFile(hash, status.st_size, status.st_mtime_ns)), recording)

    def is_whole(self, shard: Path, rows: list[TokenRow | None]) -> bool:
        """Whether a shard holds just these rows; None stands for one that is not made yet."""
        table: Any = self._tables.get(shard)
        if table is None or None in rows or not set(SOURCE) <= set(table.column_names):
            return False
        wanted = [vars(row) | vars(row.source) for row in rows if row is not None]
        return table.select(SAID).to_pylist() == [{name: row[name] for name in SAID} for row in wanted]


def said_of(row: TokenRow, recording: Recording) -> TokenRow:
    """The row's tokens with what is said of a recording now."""
    return replace(
        row,
        id=recording.id,
        path=as_text(str(recording.path)),
        licence=recording.licence,
        split=recording.split,
        captions=list(recording.captions),
    )


def source_file(recording: Recording) -> SourceFile:
    """What a recording's file is known again by; of a piece, with its place in the file."""
    status = recording.path.stat()
    hash = _of_piece(_hash_of(recording.path, status.st_size, status.st_mtime_ns), recording)
    return SourceFile(hash, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _hash_of(path: Path, size: int, modified: int) -> str:
    """The hash of a file's content, read once for the pieces of a long one, which follow each other."""
    return content_hash(path)


def _of_piece(hash: str, recording: Recording) -> str:
    """The hash of a recording whose file has this one; of a piece, with its place in the file."""
    if recording.start is None:
        return hash
    return f"{hash}@{recording.start:g}+{recording.seconds:g}"
