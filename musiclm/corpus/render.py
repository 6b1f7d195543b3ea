"""Render the reference corpus: compose pieces until the hours are full, play them, write one table.

    DIR/audio/<id>.flac    24 kHz, 16 bit, mono
    DIR/corpus.parquet     one row per piece: labels, captions, split (columns: `musiclm.corpus.table`)

Piece k of a seed is the same however long the corpus is and however many workers make it. A file is written
under a temporary name and renamed when whole; it carries a digest of the notes it was played from, so a run
that was interrupted, or that follows a change to the composer, makes again what is missing or outdated.
"""

import hashlib
import math
import multiprocessing
import os
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

from musiclm.corpus import soundfont, synthesis
from musiclm.corpus.piece import Piece
from musiclm.corpus.table import row_of, write_table
from musiclm.progress import Progress

MAX_HOURS = 100_000.0


def render(out: Path = Path("corpus"), hours: float = 1.0, seed: int = 0, workers: int | None = None) -> None:
    """Compose and render a corpus of music with exact labels. Run again to finish an interrupted one.

    Args:
        out: Folder of the corpus, made if missing; gets audio/*.flac and corpus.parquet.
        hours: Hours of music; pieces are added until they are reached.
        seed: The same seed gives the same bytes; a shorter corpus is the beginning of a longer one.
        workers: Processes to render with; all cores by default.
    """
    out = Path(out)
    workers = _available_cores() if workers is None else workers
    _check(out, hours, seed, workers)
    synthesis.check_installed()
    audio = out / "audio"
    audio.mkdir(parents=True, exist_ok=True)

    rows = []
    with Progress("rendering", round(hours * 3600), unit="s") as progress:
        for row in _render_all(audio, hours, seed, workers):
            rows.append(row)
            progress.advance(round(row["seconds"]))
    for leftover in audio.glob("*.part"):
        leftover.unlink()
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


def _render_all(audio: Path, hours: float, seed: int, workers: int) -> Iterator[dict[str, Any]]:
    """Make every piece's file; yield the table's rows in the corpus' order."""
    if workers == 1:
        for index, piece in enumerate(pieces(hours, seed)):
            _render_piece(piece, audio)
            yield row_of(piece, index)
        return

    # Spawned, since forking a process that has torch's threads can hang.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_die_with_parent) as pool:
        waiting: deque[tuple[Future[None], dict[str, Any]]] = deque()
        try:
            for index, piece in enumerate(pieces(hours, seed)):
                waiting.append((pool.submit(_render_piece, piece, audio), row_of(piece, index)))
                if len(waiting) >= 4 * workers:  # composed ahead: enough that no worker waits
                    done, row = waiting.popleft()
                    done.result()
                    yield row
            while waiting:
                done, row = waiting.popleft()
                done.result()
                yield row
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _render_piece(piece: Piece, audio: Path) -> None:
    """Write the piece's flac, unless it is there already."""
    import soundfile

    path = audio / f"{piece.id}.flac"
    digest = _digest(piece)
    if _is_whole(path, synthesis.num_samples(piece), digest):
        return
    part = path.with_suffix(".part")
    with soundfile.SoundFile(
        part, "w", synthesis.SAMPLE_RATE, channels=1, subtype="PCM_16", format="FLAC"
    ) as file:
        file.comment = digest
        file.write(synthesis.synthesize(piece))
    os.replace(part, path)


def _is_whole(path: Path, samples: int, digest: str) -> bool:
    """Whether the file is this piece's sound to the last sample."""
    import soundfile

    if not path.is_file():
        return False
    try:
        with soundfile.SoundFile(path) as file:
            if file.frames != samples or file.comment != digest:
                return False
            file.seek(samples - 1)  # fails, or finds nothing, in a file that was cut short
            return len(file.read(1)) == 1
    except soundfile.LibsndfileError:
        return False


def _digest(piece: Piece) -> str:
    """Names what a file was played from: the notes and labels, and the way they are played."""
    return hashlib.sha256(repr(piece).encode() + _synthesis_source()).hexdigest()[:32]


@cache
def _synthesis_source() -> bytes:
    return Path(synthesis.__file__).read_bytes() + Path(soundfont.__file__).read_bytes()


def _die_with_parent() -> None:
    """A worker whose parent was killed would wait for work for ever: end it."""

    def watch() -> None:
        parent = multiprocessing.parent_process()
        assert parent is not None
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _available_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _prefix(seed: int) -> str:
    return f"s{seed}-"


def _check(out: Path, hours: float, seed: int, workers: int) -> None:
    if not (math.isfinite(hours) and 0 < hours <= MAX_HOURS):
        raise ValueError(f"expected hours above 0 and up to {MAX_HOURS:,.0f}, got {hours}: try --hours 1")
    if seed < 0:
        raise ValueError(f"expected a seed of 0 or more, got {seed}")
    if workers < 1:
        raise ValueError(f"expected 1 worker or more, got {workers}: leave --workers out to use all cores")
    if out.exists() and not out.is_dir():
        raise ValueError(f"expected a folder for the corpus, but {out} is a file: give another --out")
    others = (file for file in (out / "audio").glob("*.flac") if not file.name.startswith(_prefix(seed)))
    if (other := next(others, None)) is not None:
        raise ValueError(
            f"{out} holds {other.name}, which is not of a corpus of seed {seed}: "
            "give that corpus' own --seed, or another --out"
        )
