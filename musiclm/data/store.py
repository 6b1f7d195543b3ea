"""The token store: recordings as tokens, one row each, in memory-mapped Arrow shards.

A folder holds shards `tokens-00000.arrow` …, `store.yaml` (its streams, and which tokenizers made them),
`codebooks.safetensors` (what each semantic and acoustic code stands for), and for each stream of embeddings
its residual quantizer as a bundle of one, `joint_quantizer/` for MuLan's, which turns those of any crop into
conditioning tokens. So the stages train from the folder alone, where neither fairseq2 nor audio is present.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from torch import Tensor

from musiclm.bundle import Bundle, aliases
from musiclm.bundle.reading import MODEL_FILE
from musiclm.data.remote import brought_here
from musiclm.files import replacing, write_whole
from musiclm.stages.streams import Stream, by_name

DESCRIPTION = "store.yaml"
CODEBOOKS = "codebooks.safetensors"
SHARD = "tokens-{index:05d}.arrow"
SOURCE = ("hash", "size", "modified")  # columns of a row's SourceFile
SHAPES: dict[str, Callable[[Stream], tuple[int, int]]] = {  # of a stream's values in a row, by its kind
    "tokens": lambda stream: (stream.levels, -1),
    "embeddings": lambda stream: (-1, stream.size),
    "latents": lambda stream: (stream.size, -1),
}
UNFINISHED = "unfinished"  # a file that is there while `musiclm tokenize` is at work, and if it was stopped


@dataclass(frozen=True)
class StoreDescription:
    """What a store holds.

    Args:
        streams: each a column of the rows.
        fingerprints: of the components that made them, by role.
    """

    streams: tuple[Stream, ...]
    fingerprints: dict[str, str]

    def __getitem__(self, name: str) -> Stream:
        """The stream of a name.

        Raises:
            KeyError: the store has none.
        """
        return by_name(self.streams)[name]

    @property
    def embeddings(self) -> tuple[Stream, ...]:
        """Those whose quantizers make tokens of them as they are used."""
        return tuple(stream for stream in self.streams if stream.kind == "embeddings")


@dataclass(frozen=True)
class SourceFile:
    """What file a row's tokens were made from: by its hash, it is known again wherever it lies."""

    hash: str = ""  # SHA-256, hexadecimal
    size: int = 0  # bytes
    modified: int = 0  # ns since 1970


@dataclass(frozen=True)
class TokenRow:
    """One recording as tokens.

    Args:
        streams: by name: tokens uint16 [levels, T] (65,535 where they are ABSENT), embeddings float16
            [T, size], latents float16 [size, T].
        source: its file; of old stores unknown.
    """

    id: str
    path: str
    seconds: float
    licence: str
    split: str
    captions: list[str]
    streams: dict[str, np.ndarray]
    source: SourceFile = SourceFile()

    @property
    def semantic(self) -> np.ndarray:
        """The semantic tokens uint16 [T]."""
        return self.streams["semantic"][0]

    @property
    def acoustic(self) -> np.ndarray:
        """The codec's codes uint16 [Q, T]."""
        return self.streams["acoustic"]


def write_description(folder: Path, description: StoreDescription, source: Bundle | None = None) -> None:
    """Write `store.yaml`, or check that the folder's says the same.

    Args:
        folder: of the store.
        description: of its tokens.
        source: whose tokenizers make them; it knows their fingerprints in stores of earlier formats.

    Raises:
        ValueError: the folder holds tokens of other tokenizers.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"expected a folder for the tokens, {folder} is a file: name another")
    folder.mkdir(parents=True, exist_ok=True)
    if (folder / DESCRIPTION).is_file():
        before = read_description(folder)
        if source is not None:
            before = replace(before, fingerprints=_current(before, source))
        if before != description:
            raise ValueError(
                f"expected {folder} to be new or made by the same tokenizers, it holds tokens of others: "
                "name another folder, or remove it"
            )
        return
    words: dict[str, Any] = {"streams": [stream.words() for stream in description.streams]}
    words |= {"fingerprints": description.fingerprints}
    write_whole(folder / DESCRIPTION, yaml.safe_dump(words, sort_keys=False).encode())


def read_description(folder: Path) -> StoreDescription:
    """What the tokens in a folder mean.

    Raises:
        FileNotFoundError: the folder is no token store.
    """
    file = folder / DESCRIPTION
    if not file.is_file():
        raise FileNotFoundError(
            f"expected a token store (see `musiclm tokenize`), found no {DESCRIPTION} in {folder}"
        )
    try:
        words = yaml.safe_load(file.read_text(encoding="utf-8"))
        streams = words["streams"] if "streams" in words else aliases.store_streams(words)
        return StoreDescription(
            tuple(Stream(**{**each, "made_by": tuple(each.get("made_by", ()))}) for each in streams),
            aliases.by_role(words["fingerprints"]),
        )
    except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError) as error:
        raise ValueError(
            f"expected a description of tokens in {file}: {' '.join(str(error).split())}"
        ) from None


def quantizer_of(folder: Path, role: str) -> Path:
    """The bundle of one of a store's quantizers; stores of earlier versions call it otherwise."""
    names = [role, *(old for old, new in aliases.ROLES.items() if new == role)]
    return next((folder / name for name in names if (folder / name / MODEL_FILE).is_file()), folder / role)


def _current(description: StoreDescription, source: Bundle) -> dict[str, str]:
    """Fingerprints of a store's tokenizers as a bundle of them has them today."""
    return {role: source.current(role, fingerprint) for role, fingerprint in description.fingerprints.items()}


def write_codebooks(folder: Path, codebooks: Mapping[str, Tensor]) -> None:
    """Write the entries [levels, codebook_size, D] that the codes of each source stand for."""
    from safetensors.torch import save

    content = save({name: entries.half().contiguous() for name, entries in codebooks.items()})
    write_whole(folder / CODEBOOKS, content)


def read_codebooks(folder: Path) -> dict[str, Tensor]:
    """The entries [levels, codebook_size, D] that the codes of each source (`acoustic`, ...) stand for.

    Raises:
        FileNotFoundError, ValueError: the store has none, or they are damaged.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if not (folder / CODEBOOKS).is_file():
        raise FileNotFoundError(f"expected {CODEBOOKS} in {folder}, found none: run `musiclm tokenize` again")
    try:
        return load_file(folder / CODEBOOKS)
    except SafetensorError as error:
        raise ValueError(f"expected codebooks in {folder / CODEBOOKS}: {error}; remove the store") from None


def shard_path(folder: Path, index: int) -> Path:
    return folder / SHARD.format(index=index)


def shards_of(folder: Path) -> list[Path]:
    """The shards that there are, in order."""
    return sorted(folder.glob(SHARD.replace("{index:05d}", "*")))


def write_shard(path: Path, rows: Sequence[TokenRow]) -> None:
    """Write one shard under a temporary name, then rename: a shard that exists is whole."""
    import pyarrow

    table = pyarrow.Table.from_pylist([_to_arrow(row) for row in rows], schema=_schema(rows))
    with (
        replacing(path) as temporary,
        pyarrow.OSFile(str(temporary), "wb") as sink,
        pyarrow.ipc.new_file(sink, table.schema) as writer,
    ):
        writer.write_table(table)


def read_shard(path: Path) -> Any | None:
    """The memory-mapped table of a shard, None where there is no whole one. It stays what it is, whatever
    becomes of the file."""
    import pyarrow

    try:
        return pyarrow.ipc.open_file(pyarrow.memory_map(str(path))).read_all()
    except (FileNotFoundError, pyarrow.ArrowInvalid):
        return None


def row_of(table: Any, index: int, description: StoreDescription) -> TokenRow:
    """A row of a shard's table, or of several put together, as views of the mapped file."""
    row = {name: table.column(name)[index] for name in table.column_names}
    streams = {
        stream.name: row[stream.name]
        .values.to_numpy(zero_copy_only=True)
        .reshape(SHAPES[stream.kind](stream))
        for stream in description.streams
    }
    source = {name: row[name].as_py() for name in SOURCE if name in row}
    return TokenRow(
        **{name: row[name].as_py() for name in ("id", "path", "seconds", "licence", "split", "captions")},
        streams=streams,
        source=SourceFile(**{name: value for name, value in source.items() if value is not None}),
    )


class TokenStore:
    """Reads a store. Rows are views of memory-mapped files; nothing is copied until it is used.

    Raises:
        FileNotFoundError: the folder is no token store, or has no shard yet.
        ValueError: it is not finished, or a shard is no shard.
    """

    def __init__(self, folder: str | Path) -> None:
        import pyarrow

        self.folder = brought_here(Path(folder))
        self.description = read_description(self.folder)
        if (self.folder / UNFINISHED).is_file():
            raise ValueError(
                f"expected a whole token store, `musiclm tokenize` has not come to its end in {self.folder}: "
                "run it again, it goes on where it was"
            )
        shards = shards_of(self.folder)
        if not shards:
            raise FileNotFoundError(
                f"expected shards in {self.folder}, found none: run `musiclm tokenize` to its end"
            )
        tables = [read_shard(shard) for shard in shards]
        if any(table is None for table in tables):
            broken = shards[tables.index(None)]
            raise ValueError(
                f"expected whole shards in {self.folder}, {broken.name} is none: remove it, and run "
                "`musiclm tokenize` again"
            )
        self.table = pyarrow.concat_tables(tables, promote_options="default")  # old shards have no melody

    def __len__(self) -> int:
        return self.table.num_rows

    def __getitem__(self, index: int) -> TokenRow:
        return row_of(self.table, index, self.description)

    def check_learned_by(
        self, model: Bundle, role: str = "semantic_stage", streams: Sequence[str] = ("mulan", "semantic")
    ) -> None:
        """Raise ValueError where a stage of a model has learned other tokens than the store's.

        Args:
            model: whose stage it is.
            role: of the stage.
            streams: that count.
        """
        own, learned = _current(self.description, model), model.component(role).trained_on
        names = [name for stream in streams for name in self.description[stream].made_by]
        other = [name for name in names if name in learned and learned[name] != own.get(name)]
        if other:
            raise ValueError(
                f"expected the token store that the {role.replace('_', ' ')} was trained on; {self.folder} "
                f"was made by another {', '.join(other)}: tokenize the music with this model's own tokenizers"
            )

    def ids(self) -> list[str]:
        """Of all recordings, in order."""
        return self.table.column("id").to_pylist()

    def splits(self) -> list[str]:
        """Which split each recording is of."""
        return self.table.column("split").to_pylist()

    def semantic(self, index: int) -> np.ndarray:
        """The semantic tokens uint16 [T] of a recording, without the rest of its row."""
        return self.table.column("semantic")[index].values.to_numpy(zero_copy_only=True)

    def __iter__(self) -> Iterator[TokenRow]:
        return (self[index] for index in range(len(self)))

    def rewrite(self, change: Callable[[TokenRow], TokenRow | None]) -> None:
        """Write the shards with other rows, each whole or not at all; what is read here stays what it was.

        Args:
            change: what becomes of a row; None leaves it out, and a shard without rows is removed.
        """
        for path in shards_of(self.folder):
            table = read_shard(path)
            assert table is not None, "the store is whole"
            rows = [row_of(table, number, self.description) for number in range(table.num_rows)]
            kept = [changed for row in rows if (changed := change(row)) is not None]
            if rows and not kept:
                path.unlink()
            elif any(one is not other for one, other in zip(rows, kept, strict=False)) or len(kept) < len(
                rows
            ):
                write_shard(path, kept)


def _schema(rows: Sequence[TokenRow]) -> Any:
    import pyarrow

    streams = rows[0].streams if rows else {}
    return pyarrow.schema(
        {
            "id": pyarrow.string(),
            "path": pyarrow.string(),
            "seconds": pyarrow.float64(),
            "licence": pyarrow.string(),
            "split": pyarrow.string(),
            "captions": pyarrow.list_(pyarrow.string()),
            **{name: pyarrow.list_(pyarrow.from_numpy_dtype(each.dtype)) for name, each in streams.items()},
            "hash": pyarrow.string(),  # of the recording's file, as the next two
            "size": pyarrow.int64(),
            "modified": pyarrow.int64(),
        }
    )


def _to_arrow(row: TokenRow) -> dict[str, Any]:
    columns = vars(row) | vars(row.source)
    del columns["source"], columns["streams"]
    return columns | {name: values.ravel() for name, values in row.streams.items()}
