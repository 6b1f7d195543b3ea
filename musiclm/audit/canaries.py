"""Canaries: held-out recordings planted into a training set 1, 4, 16, 64 times (Carlini et al., 1802.08232).

    musiclm audit plant --tokens tokens --out planted     a store with canaries
    musiclm fit --config configs/semantic.yaml --data.init_args.tokens planted ...
    musiclm audit --tokens planted --bundle ...           says what was learned, by how often it came

An audit that cannot see music which was repeated on purpose could not see any.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from musiclm.data.store import (
    CODEBOOKS,
    DESCRIPTION,
    TokenRow,
    TokenStore,
    quantizer_of,
    read_description,
    shard_path,
    write_shard,
)
from musiclm.files import only_writer

CANARIES = "canaries.json"  # in the store: id of each canary → how often it stands there
REPEATS = (1, 4, 16, 64)
ROWS_IN_SHARD = 32


def plant(
    tokens: Path = Path("tokens"),
    out: Path = Path("planted"),
    repeats: Sequence[int] = REPEATS,
    each: int = 8,
    seed: int = 0,
) -> None:
    """Write a token store whose training recordings hold canaries: held-out recordings, repeated.

    Args:
        tokens: a store with held-out recordings.
        out: the folder of the new store.
        repeats: how often a canary is repeated; one group of canaries for each number.
        each: canaries in a group.
        seed: of the draw.
    """
    if each < 1 or not repeats or min(repeats) < 1:
        raise ValueError(f"expected canaries, each 1 or more times, got {each} of each of {list(repeats)}")
    if out.exists():
        raise ValueError(f"expected a new folder for the planted store, {out} exists: name another")
    store = TokenStore(tokens)
    held_out = [row.id for row in store if row.split == "valid"]
    wanted = each * len(repeats)
    if len(held_out) < wanted:
        raise ValueError(
            f"expected {wanted} held-out recordings to make canaries of, {tokens} has {len(held_out)}: "
            f"ask for fewer with --each {len(held_out) // len(repeats)}"
        )
    chosen = np.random.Generator(np.random.PCG64(seed)).permutation(held_out)[:wanted]
    times = {str(id): int(repeats[index // each]) for index, id in enumerate(chosen)}
    rows: list[TokenRow] = []
    for row in store:
        if row.id not in times:
            rows.append(row)
        else:
            rows += [
                replace(row, id=f"{row.id}/copy{copy:02d}", split="train") for copy in range(times[row.id])
            ]
    making = out.with_name(f".{out.name}.making")
    with only_writer(making):
        _write_store(making / "store", rows, times, tokens)
        (making / "store").rename(out)  # so a folder of this name is whole
    making.rmdir()
    print(f"{wanted} canaries among {len(rows)} recordings: {out}")


def _write_store(folder: Path, rows: Sequence[TokenRow], times: dict[str, int], tokens: Path) -> None:
    """Write a store of `rows`, with the codebooks of the store `tokens`; `times` says which are canaries."""
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    folder.mkdir()
    for index, first in enumerate(range(0, len(rows), ROWS_IN_SHARD)):
        write_shard(shard_path(folder, index), rows[first : first + ROWS_IN_SHARD])
    for name in (CODEBOOKS, DESCRIPTION):
        shutil.copyfile(tokens / name, folder / name)
    for stream in read_description(tokens).embeddings:
        quantizer = stream.made_by[-1]
        shutil.copytree(quantizer_of(tokens, quantizer), folder / quantizer)
    (folder / CANARIES).write_text(json.dumps(times, indent=1), encoding="utf-8")


def read_canaries(store: Path) -> dict[str, int]:
    """How often each canary of a store was planted, by its id; none in a store without."""
    file = store / CANARIES
    return json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}


def canary_of(id: str) -> str:
    """The canary that a recording would be a copy of, were it one."""
    return id.rsplit("/copy", 1)[0]


def canary_rows(rows: Sequence[TokenRow], planted: dict[str, int]) -> tuple[list[TokenRow], np.ndarray]:
    """One row for each canary, and how often it was planted [C]."""
    found = {canary_of(row.id): row for row in rows if "/copy" in row.id}
    chosen = [(found[id], times) for id, times in planted.items() if id in found]
    return [row for row, _ in chosen], np.array([times for _, times in chosen], dtype=np.int64)
