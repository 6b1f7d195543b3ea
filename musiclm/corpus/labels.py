"""The reference corpus without its sound: pieces composed, but not played, and their table written.

What a planner learns, which words go with which tempo, key, drums and chords, is all in the table; a hundred
hours of it take minutes.
"""

from pathlib import Path

from musiclm.corpus.render import check, pieces
from musiclm.corpus.table import row_of, write_table
from musiclm.files import only_writer_to
from musiclm.progress import Progress


@only_writer_to("out")
def labels(out: Path = Path("labels"), hours: float = 100.0, seed: int = 0) -> None:
    """Compose a corpus and write its table alone: labels and captions of music that nobody has played.

    Args:
        out: Folder of the table, made if missing; gets corpus.parquet.
        hours: Hours of music; pieces are added until they are reached.
        seed: The same seed gives the same rows as `corpus render` does.
    """
    out = Path(out)
    check(out, hours, seed, workers=1)
    if (out / "audio").exists():
        raise ValueError(
            f"expected a folder without recordings, {out} holds a corpus with sound: another --out"
        )
    rows = []
    with Progress("composing", round(hours * 3600), unit="s") as progress:
        for index, piece in enumerate(pieces(hours, seed)):
            rows.append(row_of(piece, index))
            progress.advance(round(rows[-1]["seconds"]))
    out.mkdir(parents=True, exist_ok=True)
    write_table(rows, out / "corpus.parquet")
