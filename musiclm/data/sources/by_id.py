"""Recordings by the ids that their files are named by, as public sets have them.

A recording is known by its file's name: the id alone, or the id before what tells its place in the video
(`ID_30.wav`, `[ID]-[30-40].wav`) or its length (`1000.2min.mp3`).
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from musiclm.data.left_out import Report
from musiclm.data.sources.source import Row
from musiclm.data.walk import find_files
from musiclm.files import shown


def rows_by_id(said: Mapping[str, Row], table: Path, root: Path, report: Report) -> list[Row]:
    """What a table says of the recordings that are there; the others are counted.

    Args:
        said: by id, in which the path is still to be found.
        table: that says it.
        root: folder of the recordings.
        report: is told how many are missing.

    Raises:
        ValueError: none is there.
    """
    files, _ = find_files([root])
    there = by_id(found.path for found in files)
    rows = [replace(row, path=there[id]) for id, row in said.items() if id in there]
    if not rows:
        raise ValueError(
            f"expected recordings of {shown(table)} in {shown(root)}, found none of its {len(said):,}: "
            "name their folder by --source.root"
        )
    if len(rows) < len(said):
        report.warn(table, f"{len(said) - len(rows):,} of its {len(said):,} recordings are not there")
    return rows


def by_id(paths: Iterable[Path]) -> dict[str, Path]:
    """Files by every id that their names may stand for, the surest last."""
    there = list(paths)
    found: dict[str, Path] = {}
    for guess in (_bracketed, _before_the_place, _before_the_length, _stem):
        found |= {id: path for path in there if (id := guess(path))}
    return found


def _stem(path: Path) -> str | None:
    return path.stem


def _bracketed(path: Path) -> str | None:
    found = re.match(r"\[(.+?)\]", path.stem)
    return found[1] if found else None


def _before_the_place(path: Path) -> str | None:
    """A video's id is 11 characters, which may hold what separates them from the rest."""
    found = re.match(r"([\w-]{11})[_.-]\d", path.stem)
    return found[1] if found else None


def _before_the_length(path: Path) -> str | None:
    found = re.match(r"(\d+)\.\w+$", path.stem)
    return found[1] if found else None
