"""What is known of a piece over time, in seconds: its beats and bars, its keys, its chords, its drums.

A score is what a recording's labels or a listener say of it, and what new music is to follow. Whatever of it
is not known is missing: a score of beats alone is one too.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Generic, Literal, TypeVar

from musiclm.corpus.theory import QUALITIES, key_name

T = TypeVar("T")
MOST_BEATS = 16  # in a bar
LONGEST_BEAT = 2.0  # seconds; between beats further apart nothing is known
MODES = ("major", "minor")
PARTS = ("beats", "keys", "chords", "drums")  # of a score


@dataclass(frozen=True)
class Beat:
    """A beat.

    Args:
        at: seconds.
        place: in its bar; the downbeat's is 0.
        meter: beats in the bar.

    Raises:
        ValueError: there is no such place.
    """

    at: float
    place: int
    meter: int

    def __post_init__(self) -> None:
        if not 0 <= self.place < self.meter <= MOST_BEATS:
            raise ValueError(f"expected bars of 1 to {MOST_BEATS} beats and a place in one, got {self}")


@dataclass(frozen=True)
class Key:
    """A key: the pitch class of its tonic (C is 0), and its mode."""

    tonic: int
    mode: str

    def __post_init__(self) -> None:
        if self.tonic not in range(12) or self.mode not in MODES:
            raise ValueError(f"expected a tonic of 0 to 11, major or minor, got {self.tonic}, {self.mode!r}")

    def __str__(self) -> str:
        return key_name(self.tonic, self.mode)


@dataclass(frozen=True)
class Chord:
    """A chord: the pitch class of its root (C is 0), and its quality, as `musiclm.corpus.theory` has them."""

    root: int
    quality: str

    def __post_init__(self) -> None:
        if self.root not in range(12) or self.quality not in QUALITIES:
            raise ValueError(
                f"expected a root of 0 to 11 and a known quality, got {self.root}, {self.quality!r}"
            )


NoChord = Literal["N"]
NO_CHORD: NoChord = "N"  # as Harte's and mir_eval's chord labels have it


@dataclass(frozen=True)
class From(Generic[T]):
    """What is so from a moment on, in seconds, until the next of its kind; None where it is not known."""

    at: float
    what: T | None


@dataclass(frozen=True)
class Score:
    """What is known of some music; each part in order of time.

    Args:
        seconds: its length.
        beats: between two of them time runs evenly, unless they are more than `LONGEST_BEAT` apart; before
            the first and from the last on nothing is known.
        keys: it is in.
        chords: that sound.
        drums: whether they play.
    """

    seconds: float
    beats: tuple[Beat, ...] = ()
    keys: tuple[From[Key], ...] = ()
    chords: tuple[From[Chord | NoChord], ...] = ()
    drums: tuple[From[bool], ...] = ()

    @property
    def known(self) -> tuple[str, ...]:
        """The parts of which something is known."""
        return tuple(part for part in PARTS if getattr(self, part))

    def only(self, parts: Iterable[str]) -> "Score":
        """The score without the other parts."""
        kept = set(parts)
        return Score(self.seconds, *(getattr(self, part) if part in kept else () for part in PARTS))

    def later(self, seconds: float) -> "Score":
        """The same course of things, so much later (earlier, where negative)."""
        moved = (tuple(replace(each, at=each.at + seconds) for each in getattr(self, part)) for part in PARTS)
        return Score(self.seconds, *moved)


def what_at(spans: Sequence[From[T]], seconds: float) -> T | None:
    """What is so at a moment; None where it is not known."""
    index = bisect_right(spans, seconds + 1e-9, key=lambda span: span.at) - 1
    return spans[index].what if index >= 0 else None


def steady_beats(seconds: float, bpm: float, meter: int, *, first: float = 0.0) -> tuple[Beat, ...]:
    """Beats of one tempo from a downbeat on, the last of them at or after the end."""
    period = 60.0 / bpm
    count = max(int((seconds - first) / period), 0) + 2
    return tuple(Beat(first + n * period, n % meter, meter) for n in range(count))
