"""Datasets of Hugging Face with a column of audio: folders of parquet files, and those of `save_to_disk`.

Their recordings lie inside the tables. They are written into the cache, each as the file that it was, once.
The tables are read by pyarrow, a few rows at a time: the library `datasets` need not be there.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from musiclm.data.left_out import Report
from musiclm.data.sources.named_rows import rows_of
from musiclm.data.sources.options import SourceOptions
from musiclm.data.sources.source import Row
from musiclm.files import cache_folder, shown, write_whole

ENDINGS = {".parquet", ".arrow"}
USUAL = (
    "audio",
    "file",
    "song",
    "track",
    "recording",
    "sound",
)  # columns of audio, where no schema says which
SHARD = re.compile(r"(.*?)-\d+-of-\d+")  # train-00000-of-00002
BATCH = 16  # rows that are read at once: with recordings of minutes, uncompressed, half a gigabyte
HEADS = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg", b"ID3": ".mp3"}  # of recordings without a name


def find(place: Path) -> Path | None:
    """See `Source.find`: the place itself, a folder or a file of it."""
    return place if any(_audio_column(table) for table in _tables(place)) else None


def read(table: Path, root: Path, options: SourceOptions, report: Report) -> list[Row]:
    """See `Source.read`. Where a recording is not in the table, its path begins in `root`."""
    rows: list[Row] = []
    options = replace(options, path_column="path")
    for each in _tables(table):
        column = _audio_column(each)
        if column is None:
            continue
        unpacked = cache_folder("datasets", _digest(each))
        held, named = [], []
        for number, record in enumerate(_records(each), 1):
            audio, path = record.pop(column) or {}, record.get("path")
            content, name = audio.get("bytes"), audio.get("path") or (path if isinstance(path, str) else "")
            record |= {"split": record.get("split") or _split_of(each)}
            if content:
                file = _file_name(number, name, content)
                _write_once(unpacked / file, content)
                held.append({"id": f"{_name_of(each)}/{Path(file).stem}"} | record | {"path": file})
            elif name:
                named.append(record | {"path": name})
            else:
                report.leave_out(each, f"row {number} has no audio")
        for records, folder in ((held, unpacked), (named, root)):
            columns = dict.fromkeys(name for record in records for name in record)
            rows += rows_of(records, columns, each, folder, options, report) if records else []
    return rows


def _tables(place: Path) -> list[Path]:
    """The tables that a place is, or that lie in it, in its `data` or in the folders of its splits."""
    if os.path.isfile(place):
        return [place] if place.suffix.lower() in ENDINGS else []
    found = []
    for folder in (place, place / "data", *(place / split for split in _splits(place / "dataset_dict.json"))):
        with suppress(OSError):  # it is not there, or may not be looked into
            files = sorted(file for file in folder.iterdir() if file.suffix.lower() in ENDINGS)
            found += [file for file in files if os.path.isfile(file)]
    return found


def _splits(file: Path) -> list[str]:
    """The folders that `DatasetDict.save_to_disk` has written."""
    try:
        return [name for name in json.loads(file.read_bytes())["splits"] if Path(name).name == name]
    except (OSError, ValueError, LookupError, TypeError):
        return []


def _split_of(table: Path) -> str:
    """What the table's name says, or its folder's where `save_to_disk` has called it data-00000-of-00001."""
    found = SHARD.fullmatch(table.stem)
    name = found[1] if found else table.stem
    return table.parent.name if name == "data" else name


def _name_of(table: Path) -> str:
    """Of the table, as the ids of its recordings begin: no other's in the dataset."""
    return f"{table.parent.name}/{table.stem}" if table.stem.startswith("data") else table.stem


def _audio_column(table: Path) -> str | None:
    """The column whose cells are audio, a struct of bytes and path, by the schema's word or by its name."""
    import pyarrow
    import pyarrow.parquet

    try:
        if table.suffix.lower() == ".parquet":
            schema = pyarrow.parquet.read_schema(table)
        else:
            with pyarrow.memory_map(str(table)) as file:
                schema = pyarrow.ipc.open_stream(file).schema
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))
        said = features.get("info", {}).get("features", {})
    except (pyarrow.ArrowException, OSError, ValueError, AttributeError):
        return None
    structs = [
        field.name
        for field in schema
        if pyarrow.types.is_struct(field.type) and {each.name for each in field.type} >= {"bytes", "path"}
    ]
    if said:
        return next((name for name in structs if said.get(name, {}).get("_type") == "Audio"), None)
    return next((name for name in structs if name in USUAL), None)


def _records(table: Path) -> Iterator[dict[str, Any]]:
    """The rows of a table.

    Raises:
        ValueError: it is damaged.
    """
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.memory_map(str(table)) as file:
            if table.suffix.lower() == ".parquet":
                batches = pyarrow.parquet.ParquetFile(file).iter_batches(BATCH)
            else:
                batches = pyarrow.ipc.open_stream(file)
            for batch in batches:
                for start in range(0, batch.num_rows, BATCH):
                    yield from batch.slice(start, BATCH).to_pylist()
    except (pyarrow.ArrowException, OSError) as error:
        raise ValueError(f"expected recordings in {shown(table)}, it cannot be read: {error}") from None


def _file_name(number: int, name: str, content: bytes) -> str:
    """A name of its own for a recording in the cache: its row's number, and the name that it had."""
    kept = Path(name.replace("\\", "/")).name.replace("\0", "")
    ending = next((ending for head, ending in HEADS.items() if content.startswith(head)), ".mp3")
    return f"{number:07d}" + (f"-{kept}" if Path(kept).suffix else f"{kept and '-'}{kept}{ending}")


def _write_once(file: Path, content: bytes) -> None:
    if not (file.is_file() and file.stat().st_size == len(content)):
        file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(file, content)


def _digest(table: Path) -> str:
    """What tells a table from others, and from what it was before."""
    status = table.stat()
    known = (str(table.resolve()), status.st_size, status.st_mtime_ns)
    return sha256(repr(known).encode()).hexdigest()[:32]
