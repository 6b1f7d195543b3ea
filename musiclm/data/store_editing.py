"""`musiclm tokens merge` and `drop`: stores put together, and recordings taken out of one."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from itertools import islice
from pathlib import Path

from musiclm.data.left_out import counted
from musiclm.data.remote import written_at
from musiclm.data.store import (
    CODEBOOKS,
    DESCRIPTION,
    TokenRow,
    TokenStore,
    quantizer_of,
    shard_path,
    shards_of,
    write_description,
    write_shard,
)
from musiclm.files import only_writer, only_writer_to, shown
from musiclm.progress import Progress


def merge(tokens: list[Path], out: Path = Path("merged"), shard_size: int = 32) -> None:
    """Put token stores together that the same tokenizers have made.

    A recording that several hold, byte for byte the same, is taken once, to train on if it is in any. Of
    others with the same id, all but the first get their store's name before it.

    Args:
        tokens: folders of the stores, two or more.
        out: folder of the new store; must not hold one.
        shard_size: recordings in a shard.
    """
    if len(tokens) < 2 or shard_size < 1:
        raise ValueError(
            f"expected two stores or more and a shard_size of 1 or more, got {len(tokens)}, {shard_size}"
        )
    stores = [TokenStore(folder) for folder in tokens]
    for store in stores[1:]:
        if store.description != stores[0].description:
            raise ValueError(
                f"expected stores made by the same tokenizers, {shown(store.folder)} holds other tokens than "
                f"{shown(tokens[0])}: tokenize the music again"
            )
    with written_at(out) as folder, only_writer(folder):
        if (folder / DESCRIPTION).exists():
            raise ValueError(f"expected a new folder, {shown(out)} holds tokens: name another --out")
        for leftover in shards_of(folder):  # of a run that was killed: it has no description
            leftover.unlink()
        shutil.copyfile(stores[0].folder / CODEBOOKS, folder / CODEBOOKS)
        for stream in stores[0].description.embeddings:
            quantizer = quantizer_of(stores[0].folder, stream.made_by[-1])
            shutil.copytree(quantizer, folder / quantizer.name, dirs_exist_ok=True)
        rows = _merged(stores)
        count, index = 0, 0
        with Progress("merge", sum(map(len, stores)), unit="recording") as counter:
            while shard := list(islice(rows, shard_size)):
                write_shard(shard_path(folder, index), shard)
                count, index = count + len(shard), index + 1
                counter.advance(len(shard))
        write_description(folder, stores[0].description)
    print(f"tokens of {counted(count, 'recording')}: {shown(out)}")


@only_writer_to("tokens")
def drop(
    tokens: Path,
    *,
    ids: Sequence[str] = (),
    licences: Sequence[str] = (),
    paths: Sequence[str] = (),
) -> None:
    """Take recordings out of a token store: those that any of the patterns fits, as 'album/*' or '*live*'.

    What is killed on the way is finished by the same line. `musiclm tokenize` on the same folder puts them in
    again where they are still among its recordings.

    Args:
        tokens: folder of the store.
        ids: patterns of ids.
        licences: patterns of licences.
        paths: patterns of the paths of the recordings.
    """
    patterns = {"id": ids, "licence": licences, "path": paths}
    if not any(patterns.values()):
        raise ValueError("expected what to drop: --ids, --licences or --paths with a pattern or several")
    store = TokenStore(tokens)
    said = store.table.select(list(patterns)).to_pylist()
    for name, wanted in patterns.items():
        for pattern in wanted:
            if not any(fnmatchcase(row[name], pattern) for row in said):
                raise ValueError(
                    f"expected recordings whose {name} fits {pattern!r}, {shown(tokens)} has none"
                )

    def goes(row: TokenRow) -> bool:
        named = ((getattr(row, name), wanted) for name, wanted in patterns.items())
        return any(fnmatchcase(value, pattern) for value, wanted in named for pattern in wanted)

    kept = sum(not goes(row) for row in store)
    if not kept:
        raise ValueError(f"expected to keep some recordings, all of {shown(tokens)} fit: remove the folder")
    store.rewrite(lambda row: None if goes(row) else row)
    print(f"{counted(len(said) - kept, 'recording')} dropped, {kept:,} left: {shown(tokens)}")


def _merged(stores: Iterable[TokenStore]) -> Iterator[TokenRow]:
    """The rows of all stores, identical recordings once, each with an id of its own."""
    stores = list(stores)
    hashes: dict[str, bool] = {}  # of recordings: whether any store trains on it
    for store in stores:
        for hash, split in zip(_hashes(store), store.splits(), strict=True):
            hashes[hash] = hashes.get(hash, False) or split == "train"
    seen: set[str] = set()
    ids: set[str] = set()
    for store in stores:
        for row in store:
            if (hash := row.source.hash) in seen:
                continue
            if hash:
                seen.add(hash)
                row = replace(row, split="train" if hashes[hash] else "valid")
            id, number = row.id, 1
            while id in ids:
                number += 1
                id = f"{store.folder.name}/{row.id}" + (f"~{number - 1}" if number > 2 else "")
            ids.add(id)
            yield replace(row, id=id)


def _hashes(store: TokenStore) -> list[str]:
    return store.table.column("hash").to_pylist() if "hash" in store.table.column_names else [""] * len(store)
