"""Recordings on disk: those that tables and lists name, and every file of audio in a folder.

A user's own folder needs no table: every file of audio in it is a recording, and a text file beside it
(`song.wav`, `song.txt`) holds its captions. What cannot be used is left out and reported
(`musiclm/data/left_out.py`).
"""

import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from musiclm.audio import AudioInfo, inspect
from musiclm.data.captions import captions_file, read_captions
from musiclm.data.left_out import LeftOut, Report, reason_of
from musiclm.data.remote import AT_ONCE, brought_here
from musiclm.data.sources import (
    captioned_sets,
    corpus_table,
    delimited,
    fma,
    hugging_face,
    jamendo,
    json_lines,
)
from musiclm.data.sources.listing import places_of
from musiclm.data.sources.options import SourceOptions, is_inside
from musiclm.data.sources.source import Row, Source, Split, split_of
from musiclm.data.walk import find_files, is_worth_fetching
from musiclm.files import shown, url_of
from musiclm.machine.cpus import usable_cpus
from musiclm.progress import Progress

# The first that finds its table at a place reads it: those of public sets before tables of any columns.
SOURCES: tuple[Source, ...] = (
    corpus_table,
    hugging_face,
    fma,
    jamendo,
    captioned_sets,
    json_lines,
    delimited,
)
Named = TypeVar("Named", Row, Path)
HEAD = 2**16  # bytes that files of equal size are compared by first
MANY = 200  # files to look at, from which on the user is told how it goes


@dataclass(frozen=True)
class Recording:
    """Music in a file, all of it or a piece.

    Args:
        id: its name, of no other one.
        path: the file.
        seconds: its length.
        licence: SPDX identifier, or `unknown`.
        split: train or valid.
        captions: what is said of it.
        labels: what else is known of it: the other columns of a table.
        start: second of the file at which it begins, of a piece (`musiclm/data/pieces.py`); None: all of it.
    """

    id: str
    path: Path
    seconds: float
    licence: str
    split: Split
    captions: tuple[str, ...] = ()
    labels: dict[str, Any] = field(default_factory=dict)
    start: float | None = None


def find_recordings(
    audio: Path | Sequence[Path], report: Report | None = None, options: SourceOptions | None = None
) -> list[Recording]:
    """All recordings of a folder, or of files, folders, tables and lists, sorted by id.

    Args:
        audio: the places to look at.
        report: is told of what cannot be used; without one, it is only printed.
        options: how tables are read, and what is held out.

    Raises:
        FileNotFoundError: a place does not exist, or there is no audio in it.
        ValueError: none of the audio can be used, or not all of it and the report is strict; or a table is
            damaged, or lacks what the options ask for.
    """
    report = report or Report()
    places = [Path(place) for place in ([audio] if isinstance(audio, str | Path) else audio)]
    named = ", ".join(map(shown, places))
    options = options or SourceOptions()
    fetched = partial(brought_here, leave_out=report.leave_out, wanted=is_worth_fetching)
    places = [fetched(place) for place in places]
    options = replace(
        options,
        root=options.root and fetched(options.root),
        validation=options.validation and fetched(options.validation),
    )
    if options.validation is not None:
        places.append(options.validation)
    recordings = _told_apart(_readable(_candidates(places, options, report), report))
    recordings = _on_one_side(_split(recordings, options), report)
    report.check(len(recordings), named)
    if not recordings:
        raise FileNotFoundError(f"expected audio files (wav, flac, ogg, mp3, ...), found none in {named}")
    return sorted(recordings, key=lambda recording: recording.id)


def _candidates(
    places: Sequence[Path], options: SourceOptions, report: Report
) -> list[tuple[str, Path, Row | None]]:
    """The files that may be recordings, each with its id and the row of a table that names it."""
    rows: dict[Path, Row] = {}
    rest = []
    for place in places:
        source, table = next(
            ((each, its) for each in SOURCES if (its := each.find(place)) is not None), (None, place)
        )
        if source is None:
            rest += _fetched(places_of(place, options, report), report)
            continue
        root = options.root or (place if place.is_dir() else place.parent)
        for row in _fetched(source.read(table, root, options, report), report):
            if row.path in rows:
                report.leave_out(row.path, f"named twice in {shown(table)}")
            elif not os.path.lexists(row.path):
                report.leave_out(row.path, f"named in {shown(table)}, but not there")
            else:
                rows[row.path] = row
    files, left_out = find_files([*rows, *rest])
    for entry in left_out:
        report.leave_out(entry.path, entry.reason)
    candidates: list[tuple[str, Path, Row | None]] = []
    for found in files:
        own = rows.get(found.path)
        inside = found.path.relative_to(found.place) if found.path != found.place else Path(found.path.name)
        candidates.append((own.id if own else as_text(str(inside.with_suffix(""))), found.path, own))
    return candidates


def _fetched(named: Sequence[Named], report: Report) -> list[Named]:
    """What a table names, with copies here in the place of URLs; what cannot be fetched is left out."""

    def fetch(each: Named) -> Named | LeftOut:
        path = each.path if isinstance(each, Row) else each
        if url_of(path) is None:
            return each
        try:
            copy = brought_here(path)
        except (OSError, ValueError) as error:
            return LeftOut(path, str(error))
        return replace(each, path=copy) if isinstance(each, Row) else copy

    with ThreadPoolExecutor(AT_ONCE) as pool:
        fetched = list(pool.map(fetch, named))
    for each in fetched:
        if isinstance(each, LeftOut):
            report.leave_out(each.path, each.reason)
    return [each for each in fetched if not isinstance(each, LeftOut)]


def _readable(candidates: Sequence[tuple[str, Path, Row | None]], report: Report) -> list[Recording]:
    """The recordings among the candidates. Several are looked at at once, since that waits for the disk."""
    count = len(candidates)
    with (
        ThreadPoolExecutor(usable_cpus()) as pool,
        Progress("look at files", count, unit="file") if count >= MANY else nullcontext() as counter,
    ):
        recordings = []
        for (id, path, row), looked in zip(candidates, pool.map(_look, candidates), strict=True):
            if counter:
                counter.advance()
            info, captions = looked
            if isinstance(info, LeftOut):
                report.leave_out(info.path, info.reason)
                continue
            for warning in info.warnings:
                report.warn(path, warning)
            if isinstance(captions, LeftOut):
                report.leave_out(captions.path, captions.reason)
                captions = ()
            recordings.append(
                Recording(
                    id=id,
                    path=path,
                    seconds=info.seconds,
                    licence=row.licence if row else "unknown",
                    split=row.split if row and row.split else split_of(id),
                    captions=captions,
                    labels=row.labels if row else {},
                )
            )
    return recordings


def _look(
    candidate: tuple[str, Path, Row | None],
) -> tuple[AudioInfo | LeftOut, tuple[str, ...] | LeftOut]:
    """What is known of a file and what is said of it, or why either cannot be used."""
    _, path, row = candidate
    try:
        info = inspect(path)
    except (ValueError, OSError) as error:
        return LeftOut(path, reason_of(error)), ()
    if row is not None and row.captions is not None:
        return info, row.captions
    try:
        return info, read_captions(path)
    except (ValueError, OSError) as error:
        reason = f"{reason_of(error)}; the recording is taken without captions"
        return info, LeftOut(captions_file(path), reason)


def _split(recordings: list[Recording], options: SourceOptions) -> list[Recording]:
    """The recordings, on the sides that the options say.

    Raises:
        ValueError: no recording has the label that they are to be split by.
    """
    if (held_out := options.validation) is not None:
        return [
            replace(each, split="valid" if is_inside(each.path, held_out) else "train") for each in recordings
        ]
    if (label := options.split_by) is None:
        return recordings
    groups = [_group_of(each, label) for each in recordings]
    if recordings and not any(groups):
        known = sorted({name for each in recordings for name in each.labels})
        raise ValueError(
            f"expected recordings with the label {label} to split by, none has it; they have "
            f"{', '.join(known) or 'no labels'}, and folder"
        )
    return [
        replace(each, split=split_of(group or each.id))
        for each, group in zip(recordings, groups, strict=True)
    ]


def _group_of(recording: Recording, label: str) -> str:
    """What recordings of one side share; "" where it is not known."""
    if label in recording.labels:
        value = recording.labels[label]
        return as_text(str(value)) if value not in (None, "") else ""
    return as_text(recording.path.parent.name) if label == "folder" else ""


def _told_apart(recordings: Sequence[Recording]) -> list[Recording]:
    """Recordings with an id each: where several have the same, the end of the path that tells them apart.

    `cd1/track01.wav` and `cd2/track01.wav`, given as files, are both `track01`, and become just these. Their
    split stays that of the id they have in common: it does not change when another such file comes along.
    """
    groups: dict[str, list[Recording]] = defaultdict(list)
    for recording in recordings:
        groups[recording.id].append(recording)
    apart = [group[0] for group in groups.values() if len(group) == 1]
    taken = {recording.id for recording in apart}
    for id, group in groups.items():
        if len(group) > 1:
            ids = _ends_of_paths([recording.path for recording in group], taken, parts=id.count("/") + 1)
            taken.update(ids)
            apart += [replace(recording, id=own) for recording, own in zip(group, ids, strict=True)]
    return apart


def _ends_of_paths(paths: Sequence[Path], taken: set[str], *, parts: int) -> list[str]:
    """The shortest ends, of at least so many parts, in which all the paths differ, from those taken too."""
    whole = [Path(os.path.abspath(path)).parts for path in paths]
    for count in range(parts, max(map(len, whole)) + 1):
        ends = [as_text("/".join(each[-count:])) for each in whole]
        if len(set(ends)) == len(ends) and taken.isdisjoint(ends):
            return ends
    # Names that differ only in a byte that is no UTF-8 and in the escape it would be written as.
    return [f"{end}~{number}" for number, end in enumerate(ends, 1)]


def _on_one_side(recordings: list[Recording], report: Report) -> list[Recording]:
    """Identical recordings share a split, that of training if any has it: none is held out and trained on."""
    splits: dict[Path, Split] = {}
    for group in _identical(recordings):
        split: Split = "train" if any(recording.split == "train" for recording in group) else "valid"
        splits |= {recording.path: split for recording in group}
        for recording in group[1:]:
            report.warn(recording.path, f"identical to {shown(group[0].path)}")
    return [replace(each, split=splits.get(each.path, each.split)) for each in recordings]


def _identical(recordings: Sequence[Recording]) -> list[list[Recording]]:
    """Groups of recordings whose files are the same, byte for byte. Hardly any file is read for it."""
    groups = [sorted(recordings, key=lambda recording: recording.path)]
    for key in (_size, _head, content_hash):
        finer: dict[tuple[int, object], list[Recording]] = defaultdict(list)
        for number, group in enumerate(groups):
            for recording in group:
                with suppress(OSError):  # one that cannot be read any more is like no other
                    finer[number, key(recording.path)].append(recording)
        groups = [group for group in finer.values() if len(group) > 1]
    return groups


def _size(path: Path) -> int:
    return path.stat().st_size


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(HEAD)


def content_hash(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def as_text(name: str) -> str:
    """A name as text: bytes that are not UTF-8, which no table of text can hold, become escapes."""
    return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
