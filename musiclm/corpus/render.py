"""Render the reference corpus: compose pieces until the hours are full, play them, write one table.

    DIR/audio/<id>.flac    24 kHz, 16 bit, mono
    DIR/corpus.parquet     one row per piece: labels, captions, split (columns: `musiclm.corpus.table`)

Piece k of a seed is the same however long the corpus is and however many workers make it. A file is written
under a temporary name and renamed when whole; it carries a digest of the notes it was played from, so a run
that was interrupted, or that follows a change to the composer, makes again what is missing or outdated.
"""

import hashlib
import math
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path

from musiclm.corpus import soundfont, synthesis
from musiclm.corpus.piece import Piece
from musiclm.corpus.production import in_order, make_flac
from musiclm.corpus.table import row_of, write_table
from musiclm.files import only_writer_to, remove_leftovers
from musiclm.machine.cpus import usable_cpus
from musiclm.machine.executors import RayCluster
from musiclm.progress import Progress

MAX_HOURS = 100_000.0


@only_writer_to("out")
def render(
    out: Path = Path("corpus"),
    hours: float = 1.0,
    seed: int = 0,
    workers: int | None = None,
    ray: str | None = None,
) -> None:
    """Compose and render a corpus of music with exact labels. Run again to finish an interrupted one.

    Args:
        out: Folder of the corpus, made if missing; gets audio/*.flac and corpus.parquet.
        hours: Hours of music; pieces are added until they are reached.
        seed: The same seed gives the same bytes; a shorter corpus is the beginning of a longer one.
        workers: Processes to render with; as many as there are CPUs to use by default.
        ray: Address of a Ray cluster whose tasks render the pieces, or local; its nodes see the same files.
    """
    out = Path(out)
    workers = usable_cpus() if workers is None else workers
    check(out, hours, seed, workers)
    synthesis.check_installed()
    audio = out / "audio"
    audio.mkdir(parents=True, exist_ok=True)

    rows = []
    with Progress("rendering", round(hours * 3600), unit="s") as progress:
        make = partial(_render_piece, audio=audio)
        if ray is None:
            for index, piece in enumerate(in_order(make, pieces(hours, seed), workers)):
                rows.append(row_of(piece, index))
                progress.advance(round(rows[-1]["seconds"]))
        else:
            composed = list(pieces(hours, seed))
            for seconds in RayCluster(ray).run(make, composed):
                progress.advance(round(seconds))
            rows = [row_of(piece, index) for index, piece in enumerate(composed)]
    remove_leftovers(audio)
    write_table(rows, out / "corpus.parquet")


def pieces(hours: float, seed: int) -> Iterator[Piece]:
    """The pieces of a corpus in order, until together they last `hours`."""
    import numpy as np

    from musiclm.corpus.composer import compose

    index, samples = 0, 0
    while samples < hours * 3600 * synthesis.SAMPLE_RATE:
        piece_seed = int(np.random.SeedSequence([seed, index]).generate_state(1)[0])
        piece = compose(piece_seed, piece_id=f"{_prefix(seed)}{index:06d}")
        yield piece
        samples += synthesis.num_samples(piece)
        index += 1


def _render_piece(piece: Piece, audio: Path) -> float:
    """Write the piece's flac, unless it is there already; returns how many seconds it lasts."""
    samples = synthesis.num_samples(piece)
    make_flac(
        audio / f"{piece.id}.flac",
        partial(synthesis.synthesize, piece),
        samples=samples,
        digest=digest_of(piece),
    )
    return samples / synthesis.SAMPLE_RATE


def digest_of(piece: Piece) -> str:
    """What a piece's sound is made from, the notes and labels and the way they are played: 32 hex digits."""
    return hashlib.sha256(repr(piece).encode() + _synthesis_source()).hexdigest()[:32]


@cache
def _synthesis_source() -> bytes:
    return Path(synthesis.__file__).read_bytes() + Path(soundfont.__file__).read_bytes()


def _prefix(seed: int) -> str:
    return f"s{seed}-"


def check(out: Path, hours: float, seed: int, workers: int) -> None:
    """Raise ValueError, before anything is made, for what no corpus can be rendered with."""
    if not (math.isfinite(hours) and 0 < hours <= MAX_HOURS):
        raise ValueError(f"expected hours above 0 and up to {MAX_HOURS:,.0f}, got {hours}: try --hours 1")
    if seed < 0:
        raise ValueError(f"expected a seed of 0 or more, got {seed}")
    if workers < 1:
        raise ValueError(f"expected 1 worker or more, got {workers}: leave --workers out to use all cores")
    # Not those that a run was killed over, whose names are hidden
    others = (file for file in (out / "audio").glob("[!.]*.flac") if not file.name.startswith(_prefix(seed)))
    if (other := next(others, None)) is not None:
        raise ValueError(
            f"{out} holds {other.name}, which is not of a corpus of seed {seed}: "
            "give that corpus' own --seed, or another --out"
        )
