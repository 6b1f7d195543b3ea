"""`musiclm corpus melodies`: every melody of the corpus in several versions, in stems to be mixed at will.

    DIR/lead/<id>.flac      the melody alone, 24 kHz, 16 bit, mono
    DIR/band/<id>.flac      everything else of the same arrangement, on the same clock
    DIR/melodies.parquet    one row per version: split, tune, tempo, and the notes of the lead in seconds

Melody training needs pairs that share nothing but their melody (MusicLM, appendix C). Of each piece there is:

    original      as it was composed
    tempo         the lead alone, up to 15 % slower or faster
    instrument    another lead, another tempo
    hum, whistle  a voice alone, another tempo

Pieces and splits are those of `musiclm corpus render` with the same seed. Both stems are at one loudness, so
that a mix decides how they stand to each other.
"""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np

from musiclm.corpus import synthesis, voice
from musiclm.corpus.attributes import FASTEST, SLOWEST
from musiclm.corpus.instruments import LEADS
from musiclm.corpus.piece import Piece
from musiclm.corpus.production import in_order, make_flac
from musiclm.corpus.render import check, digest_of, pieces
from musiclm.corpus.table import split_of
from musiclm.corpus.variations import rearrange
from musiclm.files import only_writer_to, remove_leftovers, write_whole
from musiclm.machine.cpus import usable_cpus
from musiclm.progress import Progress

TABLE_NAME = "melodies.parquet"
TEMPO_CHANGE = 0.15  # either way


@dataclass(frozen=True)
class Version:
    kind: str  # "original", "tempo", "instrument", "hum", "whistle"
    piece: Piece  # its id is the version's
    source: str  # id of the piece that it is a version of

    @property
    def has_band(self) -> bool:
        return self.kind in ("original", "instrument") and len(self.piece.tracks) > 1


@only_writer_to("out")
def melodies(
    out: Path = Path("melodies"), hours: float = 1.0, seed: int = 0, workers: int | None = None
) -> None:
    """Render melodies in several versions, lead and band apart. Run again to finish an interrupted one.

    Args:
        out: Folder of the melodies, made if missing; gets lead/*.flac, band/*.flac and melodies.parquet.
        hours: Hours of music of the corpus whose melodies these are; the stems last seven times as long.
        seed: Of the corpus.
        workers: Processes to render with; as many as there are CPUs to use by default.
    """
    out = Path(out)
    workers = usable_cpus() if workers is None else workers
    check(out, hours, seed, workers)
    synthesis.check_installed()
    for stem in ("lead", "band"):
        (out / stem).mkdir(parents=True, exist_ok=True)

    rows = []
    with Progress("rendering melodies", round(hours * 3600), unit="s") as progress:
        for index, piece in enumerate(in_order(partial(_render, out=out), pieces(hours, seed), workers)):
            rows += [row_of(version, split_of(piece, index)) for version in versions(piece)]
            progress.advance(round(piece.seconds))
    for stem in ("lead", "band"):
        remove_leftovers(out / stem)
    write_whole(out / TABLE_NAME, table_of(rows))


def versions(piece: Piece) -> Iterator[Version]:
    """The versions of a piece, the same each time."""
    rng = np.random.default_rng([piece.seed, 0x3E10])
    labels = piece.attributes

    def tempo() -> float:
        change = labels.tempo * (1 + rng.uniform(-TEMPO_CHANGE, TEMPO_CHANGE))
        return float(np.clip(change, SLOWEST, FASTEST))

    lead = str(rng.choice([name for name in LEADS if name != labels.lead]))
    arranged = {
        "original": piece,
        "tempo": rearrange(piece, tempo=tempo(), alone=True),
        "instrument": rearrange(piece, lead=lead, tempo=tempo()),
        **{name: voice.take(rearrange(piece, tempo=tempo()), name) for name in voice.VOICES},
    }
    for kind, version in arranged.items():
        yield Version(kind, replace(version, id=f"{piece.id}-{kind}"), piece.id)


def row_of(version: Version, split: str) -> dict[str, Any]:
    """The table's row of a version. Times are in seconds, pitches MIDI numbers as they sound."""
    piece = version.piece
    notes = sorted(_lead(piece).tracks[0].notes, key=lambda note: note.start)
    return {
        "id": piece.id,
        "piece": version.source,
        "version": version.kind,
        "split": split,
        "tune": piece.attributes.tune,
        "instrument": piece.attributes.lead,
        "tempo": float(piece.attributes.tempo),
        "lead": f"lead/{piece.id}.flac",
        "band": f"band/{piece.id}.flac" if version.has_band else "",
        "seconds": synthesis.num_samples(piece) / synthesis.SAMPLE_RATE,
        "starts": [piece.seconds_at(note.start) for note in notes],
        "durations": [piece.seconds_at(note.duration) for note in notes],
        "pitches": [note.pitch for note in notes],
    }


def _render(piece: Piece, out: Path) -> None:
    """Write the stems of all versions of a piece, those that are not there already."""
    for version in versions(piece):
        lead = _lead(version.piece)
        play = voice.sing if version.kind in voice.VOICES else synthesis.synthesize
        _write(out / "lead" / f"{version.piece.id}.flac", partial(play, lead), lead)
        if version.has_band:
            band = replace(version.piece, tracks=tuple(t for t in version.piece.tracks if t.role != "lead"))
            _write(out / "band" / f"{version.piece.id}.flac", partial(synthesis.synthesize, band), band)


def _write(path: Path, make: Callable[[], np.ndarray], piece: Piece) -> None:
    digest = digest_of(piece)
    if piece.attributes.lead in voice.VOICES:
        digest = hashlib.sha256(digest.encode() + _voice_source()).hexdigest()[:32]
    make_flac(path, make, samples=synthesis.num_samples(piece), digest=digest)


def _lead(piece: Piece) -> Piece:
    return replace(piece, tracks=tuple(track for track in piece.tracks if track.role == "lead"))


@cache
def _voice_source() -> bytes:
    return Path(voice.__file__).read_bytes()


def table_of(rows: list[dict[str, Any]]) -> bytes:
    """The table of such rows, as a parquet file."""
    import pyarrow
    import pyarrow.parquet

    text, number = pyarrow.string(), pyarrow.float64()
    schema = pyarrow.schema(
        [
            *((name, text) for name in ("id", "piece", "version", "split", "tune", "instrument")),
            ("tempo", number),
            ("lead", text),
            ("band", text),
            ("seconds", number),
            ("starts", pyarrow.list_(number)),
            ("durations", pyarrow.list_(number)),
            ("pitches", pyarrow.list_(pyarrow.int16())),
        ]
    )
    sink = pyarrow.BufferOutputStream()
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows, schema=schema), sink)
    return sink.getvalue().to_pybytes()
