"""Maker of stores as they were written before."""

from pathlib import Path

import pyarrow

from musiclm.data.store import SOURCE, read_shard


def without_sources(shard: Path) -> None:
    """Take the hashes out of a shard."""
    table = read_shard(shard).drop_columns(list(SOURCE))  # type: ignore[union-attr]
    shard.unlink()  # what is mapped stays what it was
    with pyarrow.OSFile(str(shard), "wb") as file, pyarrow.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table)
