"""Recordings on disk: a folder of audio, with a table of labels if there is one.

A folder made by `musiclm corpus render` holds `corpus.parquet`, one row per recording. A user's own folder
needs no table: every file in it is a recording, and a text file beside it (`song.wav`, `song.txt`) holds its
captions, one a line.
"""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

TABLE_NAME = "corpus.parquet"
SUFFIXES = {".wav", ".flac", ".ogg", ".mp3", ".aiff", ".aif"}
HELD_OUT_SHARE = 20  # without a table, one recording in twenty is held out, chosen by a hash of its id

Split = Literal["train", "valid"]


@dataclass(frozen=True)
class Recording:
    id: str
    path: Path
    seconds: float
    licence: str
    split: Split
    captions: tuple[str, ...] = ()
    labels: dict[str, Any] = field(default_factory=dict)  # the table's other columns


def find_recordings(audio: Path | Sequence[Path]) -> list[Recording]:
    """All recordings of a folder, or of files and folders, sorted by id.

    Raises:
        FileNotFoundError: a path does not exist, or there is no audio in it.
    """
    recordings: dict[str, Recording] = {}
    for place in [audio] if isinstance(audio, str | Path) else audio:
        place = Path(place)
        if not place.exists():
            raise FileNotFoundError(f"expected audio files or a folder of them, found nothing at {place}")
        if (place / TABLE_NAME).is_file():
            found = _read_table(place)
        elif place.is_dir():
            files = sorted(path for path in place.rglob("*") if path.suffix.lower() in SUFFIXES)
            found = [_from_file(path, str(path.relative_to(place).with_suffix(""))) for path in files]
        else:
            found = [_from_file(place, place.stem)]
        for recording in found:
            if recording.id in recordings:
                raise ValueError(f"expected distinct recordings, got {recording.id!r} twice: rename a file")
            recordings[recording.id] = recording
    empty = [recording for recording in recordings.values() if recording.seconds <= 0]
    if empty:
        raise ValueError(f"expected recordings, {empty[0].path} holds no samples: remove it")
    if not recordings:
        raise FileNotFoundError(
            f"expected audio ({', '.join(sorted(SUFFIXES))}), found none in {_names(audio)}"
        )
    return [recordings[key] for key in sorted(recordings)]


def _names(audio: Path | Sequence[Path]) -> str:
    return str(audio) if isinstance(audio, str | Path) else ", ".join(map(str, audio))


def _read_table(folder: Path) -> list[Recording]:
    import pyarrow.parquet

    known = {"id", "path", "seconds", "licence", "split", "captions"}
    return [
        Recording(
            id=row["id"],
            path=folder / row["path"],
            seconds=row["seconds"],
            licence=row["licence"],
            split=row["split"],
            captions=tuple(row["captions"]),
            labels={name: value for name, value in row.items() if name not in known},
        )
        for row in pyarrow.parquet.read_table(folder / TABLE_NAME).to_pylist()
    ]


def _from_file(path: Path, id: str) -> Recording:
    import soundfile

    try:
        seconds = soundfile.info(str(path)).duration
    except soundfile.LibsndfileError as error:
        raise ValueError(f"expected audio, but {path} cannot be read: {error}") from None
    captions = path.with_suffix(".txt")
    lines = captions.read_text(encoding="utf-8").splitlines() if captions.is_file() else []
    return Recording(
        id=id,
        path=path,
        seconds=seconds,
        licence="unknown",
        split="valid" if zlib.crc32(id.encode()) % HELD_OUT_SHARE == 0 else "train",
        captions=tuple(line.strip() for line in lines if line.strip()),
    )
