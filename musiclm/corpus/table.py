"""The table of a corpus, `corpus.parquet`: one row per piece, its labels, its captions and its split."""

import hashlib
from pathlib import Path
from typing import Any

from musiclm.corpus.captions import describe
from musiclm.corpus.piece import Piece
from musiclm.corpus.synthesis import SAMPLE_RATE, num_samples
from musiclm.corpus.theory import key_name
from musiclm.files import replacing

LICENCE = "CC0-1.0"
VALID_EVERY = 20  # one piece in so many is held out


def row_of(piece: Piece, index: int) -> dict[str, Any]:
    """The table's row of the piece that comes `index`-th in its corpus. Times are in seconds."""
    labels = piece.attributes
    return {
        "id": piece.id,
        "path": f"audio/{piece.id}.flac",
        "seconds": num_samples(piece) / SAMPLE_RATE,
        "licence": LICENCE,
        "split": split_of(piece, index),
        "captions": describe(piece),
        "genre": labels.genre,
        "mood": labels.mood,
        "tonic": labels.tonic,
        "mode": labels.mode,
        "key": key_name(labels.tonic, labels.mode),
        "tempo": float(labels.tempo),
        "lead": labels.lead,
        "accompaniment": list(labels.accompaniment),
        "bass": labels.bass,
        "drums": labels.drums,
        "tune": labels.tune,
        "chords": [
            {"start": piece.seconds_at(chord.start), "root": chord.root, "quality": chord.quality}
            for chord in piece.chords
        ],
        "beats_per_bar": piece.beats_per_bar,
        "seed": piece.seed,
    }


def split_of(piece: Piece, index: int) -> str:
    """ "valid" for one piece in twenty, and for every piece on a held-out tune (about a quarter of them).

    Depends on neither the corpus' length nor its seed: a held-out tune is never heard in training.
    """
    return "valid" if index % VALID_EVERY == 1 or is_held_out(piece.attributes.tune) else "train"


def is_held_out(tune: str) -> bool:
    """Whether this tune of the songbook is for validation only; never for an invented melody ("")."""
    return tune != "" and hashlib.sha256(tune.encode()).digest()[0] % 4 == 0


def write_table(rows: list[dict[str, Any]], path: Path) -> None:
    """Write the rows, whole or not at all."""
    import pyarrow
    import pyarrow.parquet

    text, words = pyarrow.string(), pyarrow.list_(pyarrow.string())
    chord = pyarrow.struct([("start", pyarrow.float64()), ("root", pyarrow.int8()), ("quality", text)])
    schema = pyarrow.schema(
        [
            ("id", text),
            ("path", text),
            ("seconds", pyarrow.float64()),
            ("licence", text),
            ("split", text),
            ("captions", words),
            ("genre", text),
            ("mood", text),
            ("tonic", pyarrow.int8()),
            ("mode", text),
            ("key", text),
            ("tempo", pyarrow.float64()),
            ("lead", text),
            ("accompaniment", words),
            ("bass", text),
            ("drums", pyarrow.bool_()),
            ("tune", text),
            ("chords", pyarrow.list_(chord)),
            ("beats_per_bar", pyarrow.int8()),
            ("seed", pyarrow.int64()),
        ]
    )
    with replacing(path) as temporary:
        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), temporary)
