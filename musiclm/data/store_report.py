"""`musiclm tokens info` and `verify`: what a token store holds, and whether all of it can be so."""

import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from musiclm.bundle import Bundle
from musiclm.data.cutting import tokens_of
from musiclm.data.left_out import counted
from musiclm.data.remote import brought_here
from musiclm.data.store import (
    CODEBOOKS,
    SHARD,
    UNFINISHED,
    StoreDescription,
    TokenRow,
    TokenStore,
    quantizer_of,
    read_codebooks,
    read_description,
    read_shard,
    row_of,
    shards_of,
)
from musiclm.files import printable, shown
from musiclm.progress import Progress
from musiclm.stages.layout import ABSENT
from musiclm.stages.streams import Stream

SHORTER, LONGER = 0.9, 1.1  # of the frames that a recording's length and a stream's rate make
SLACK = 4.0  # seconds more or less: windows of several seconds end after their recording, or before it
MOST_FAULTS = 20  # named


def info(tokens: Path) -> None:
    """Say what a token store holds: recordings, hours, splits, licences, streams, and what made them.

    Args:
        tokens: folder of the store.
    """
    store = TokenStore(tokens)
    said = store.table.select(["seconds", "licence", "split", "captions"]).to_pylist()
    shards = shards_of(store.folder)
    size = sum(file.stat().st_size for file in store.folder.rglob("*") if file.is_file())
    hours = sum(row["seconds"] for row in said) / 3600
    kept = f"{size / 1e6:,.1f} MB in {counted(len(shards), 'shard')}"
    print(f"{counted(len(said), 'recording')}, {hours:.2f} h, {kept}")
    for name in ("split", "licence"):
        for value, count in Counter(row[name] for row in said).most_common():
            part = sum(row["seconds"] for row in said if row[name] == value) / 3600
            print(f"{name} {printable(str(value))}: {counted(count, 'recording')}, {part:.2f} h")
    captioned = sum(bool(row["captions"]) for row in said)
    captions = sum(len(row["captions"] or ()) for row in said)
    print(f"captions: {captions:,}, of {counted(captioned, 'recording')}")
    for stream in store.description.streams:
        prints = store.description.fingerprints
        makers = ", ".join(f"{role} {prints.get(role, '?')}" for role in stream.made_by)
        origin = f"made by {makers}" if makers else "of labels, or heard"
        print(f"{stream.name}: {_shape_of(stream)}, {origin}")


def verify(tokens: Path) -> None:
    """Look at everything in a token store; exit with 1, naming the first faults, where anything cannot be so.

    Args:
        tokens: folder of the store.
    """
    folder = brought_here(tokens)
    description = read_description(folder)
    faults = [*_faults_beside(folder, description)]
    shards = shards_of(folder)
    if not shards:
        faults.append(f"there is no shard ({SHARD.format(index=0)}, ...)")
    ids: Counter[str] = Counter()
    hashes: dict[str, str] = {}
    with Progress("verify", len(shards), unit="shard") as counter:
        for shard in shards:
            table = read_shard(shard)
            if table is None:
                faults.append(f"{shard.name} is no whole shard")
            else:
                faults += _faults_in(table, shard.name, description, ids, hashes)
            counter.advance()
    faults += [f"{count} recordings are called {printable(id)}" for id, count in ids.items() if count > 1]
    for fault in faults[:MOST_FAULTS]:
        print(fault, file=sys.stderr)
    if faults:
        rest = f", {len(faults) - MOST_FAULTS:,} not named" if len(faults) > MOST_FAULTS else ""
        print(f"{counted(len(faults), 'fault')} in {shown(tokens)}{rest}")
        sys.exit(1)
    print(f"all {counted(ids.total(), 'recording')} of {shown(tokens)} are as they must be")


def _shape_of(stream: Stream) -> str:
    rate = f" {stream.rate:g} times a second" if stream.rate else " of the whole recording"
    if stream.kind == "tokens":
        return f"tokens, {stream.levels} × {stream.size:,},{rate}"
    return f"{stream.kind} of {stream.size},{rate}"


def _faults_beside(tokens: Path, description: StoreDescription) -> Iterator[str]:
    """What is wrong with what stands beside the shards."""
    if (tokens / UNFINISHED).is_file():
        yield "`musiclm tokenize` has not come to its end: run it again"
    try:
        books = read_codebooks(tokens)
    except (ValueError, OSError) as error:
        yield str(error)
    else:
        for name, entries in books.items():
            if not bool(entries.isfinite().all()):
                yield f"{CODEBOOKS}: the entries of {name} are not finite"
    for stream in description.embeddings:
        role = stream.made_by[-1]
        try:
            Bundle(quantizer_of(tokens, role)).load(role)
        except (ValueError, OSError) as error:
            yield f"the quantizer of {stream.name} cannot be loaded: {' '.join(str(error).split())}"


def _faults_in(
    table: Any, shard: str, description: StoreDescription, ids: "Counter[str]", hashes: dict[str, str]
) -> Iterator[str]:
    """What is wrong with a shard's rows; counts their ids, and remembers where identical recordings are."""
    if not table.num_rows:  # all of its recordings were left out
        return
    if missing := [stream.name for stream in description.streams if stream.name not in table.column_names]:
        yield f"{shard} has no column {missing[0]}"
        return
    for number in range(table.num_rows):
        try:
            row = row_of(table, number, description)
        except (ValueError, TypeError, AttributeError) as error:
            yield f"{shard}, row {number}: {' '.join(str(error).split())}"
            continue
        ids[row.id] += 1
        name = printable(row.id)
        for fault in _faults_of(row, description.streams):
            yield f"{shard}, {name}: {fault}"
        if row.source.hash and hashes.setdefault(row.source.hash, row.split) != row.split:
            yield f"{shard}, {name}: an identical recording is in the other split"


def _faults_of(row: TokenRow, streams: Iterable[Stream]) -> Iterator[str]:
    if row.split not in ("train", "valid"):
        yield f"a split {row.split!r}, expected train or valid"
    if not row.seconds > 0:
        yield f"a length of {row.seconds} s"
        return
    for stream in streams:
        values = row.streams[stream.name]
        if fault := CHECKS[stream.kind](values, stream):
            yield f"{stream.name} {fault}"
        frames, expected = values.shape[stream.kind != "embeddings"], row.seconds * stream.rate
        slack = SLACK * stream.rate + stream.window * stream.rate
        if stream.rate and not SHORTER * expected - slack <= frames <= LONGER * expected + slack:
            yield f"{stream.name} has {frames} frames of {row.seconds:.1f} s, expected about {expected:.0f}"


def _fault_of_tokens(values: np.ndarray, stream: Stream) -> str | None:
    highest = int(tokens_of(values).max(initial=ABSENT))
    return None if highest < stream.size else f"has the code {highest}, expected 0 to {stream.size - 1}"


def _fault_of_vectors(values: np.ndarray, stream: Stream) -> str | None:
    return None if bool(np.isfinite(values).all()) else "has values that are not finite"


CHECKS: dict[str, Callable[[np.ndarray, Stream], str | None]] = {
    "tokens": _fault_of_tokens,
    "embeddings": _fault_of_vectors,
    "latents": _fault_of_vectors,
}
