"""How much of the time two courses of chords agree, as MIREX counts it (mir_eval's root and majmin)."""

from collections.abc import Sequence

Interval = tuple[float, float]  # seconds from and to
# Root, and the semitones of the chord's tones above it; None where no chord sounds
Label = tuple[int, Sequence[int]] | None
MAJOR, MINOR = "major", "minor"


def triad(label: Label) -> tuple[int, str] | str | None:
    """The major or minor triad that a chord is counted as; "" for what is neither, and is not counted."""
    if label is None:
        return None
    root, tones = label
    if {0, 4, 7} <= set(tones):
        return root, MAJOR
    return (root, MINOR) if {0, 3, 7} <= set(tones) else ""


def overlap(
    true: Sequence[tuple[Interval, Label]],
    heard: Sequence[tuple[Interval, Label]],
    *,
    roots_only: bool = False,
) -> float:
    """The share of the counted time in which the heard chord is the true one, 0 … 1; NaN where none counts.

    Args:
        true: chords with their times, in order, none overlapping; those that are neither major nor minor
            are not counted.
        heard: the same; where nothing is heard, it is wrong.
        roots_only: compare roots, of all chords.
    """
    counted = right = 0.0
    for (start, end), label in true:
        wanted = _reduced(label, roots_only)
        if wanted == "":
            continue
        counted += end - start
        for (first, last), other in heard:
            if (both := min(end, last) - max(start, first)) > 0 and _reduced(other, roots_only) == wanted:
                right += both
    return right / counted if counted else float("nan")


def _reduced(label: Label, roots_only: bool) -> object:
    return (None if label is None else label[0]) if roots_only else triad(label)
