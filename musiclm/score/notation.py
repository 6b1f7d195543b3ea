"""How musicians write keys, meters and chords, read and written: "F# minor", "3/4", "Am | F | C G"."""

import re
from collections.abc import Sequence

from musiclm.corpus.theory import QUALITIES, parse_chord_name
from musiclm.score.score import MOST_BEATS, NO_CHORD, Chord, Key, NoChord

SHARPS = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
FLATS = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
FLAT_KEYS = {
    "major": {1, 3, 5, 8, 10},
    "minor": {0, 2, 3, 5, 7, 10},
}  # tonics of keys that flats are written in
ENDINGS = {
    "major": "", "minor": "m", "diminished": "dim", "augmented": "aug", "dominant7": "7", "major7": "maj7",
    "minor7": "m7", "half-diminished7": "m7b5", "diminished7": "dim7", "major6": "6", "minor6": "m6",
    "suspended2": "sus2", "suspended4": "sus4", "power": "5",
}  # fmt: skip
assert set(ENDINGS) == set(QUALITIES)
REPEAT = "%"  # the bar before, once more
UNKNOWN = "?"  # a bar whose chords are not known
METERS = (2, 4, 8)  # what a beat may be: a half, a quarter, an eighth
LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
ACCIDENTALS = {"": 0, "b": -1, "♭": -1, "flat": -1, "#": 1, "♯": 1, "sharp": 1}
MODES_SAID = {"major": "major", "maj": "major", "minor": "minor", "min": "minor", "m": "minor", "": "major"}
_KEY = re.compile(r"([A-Ga-g])\s*-?\s*(#|♯|b|♭|sharp|flat)?\s*(major|minor|maj|min|m)?", re.IGNORECASE)

Bar = tuple[Chord | NoChord, ...]  # its chords, which divide it evenly, to the beat


def read_key(text: str) -> Key:
    """The key of "F# minor", "Bb", "a flat major" or "Em".

    Raises:
        ValueError: it is none.
    """
    found = _KEY.fullmatch(text.strip())
    if found is None:
        raise ValueError(f'expected a key such as "A minor", "F# minor" or "Bb major", got {text!r}')
    letter, accidental, mode = (each or "" for each in found.groups())
    if mode == "M":  # as chord symbols have it
        mode = "major"
    tonic = LETTERS[letter.upper()] + ACCIDENTALS[accidental.lower()]
    return Key(tonic % 12, MODES_SAID[mode.lower()])


def write_key(key: Key) -> str:
    """A key as `read_key` reads it."""
    return f"{_names(key)[key.tonic]} {key.mode}"


def read_meter(text: str) -> int:
    """Beats in a bar of "3/4" or "4".

    Raises:
        ValueError: it is no meter.
    """
    found = re.fullmatch(r"(\d{1,2})(?:/(\d{1,2}))?", str(text).strip())
    if found is None or not 2 <= int(found[1]) <= MOST_BEATS or int(found[2] or 4) not in METERS:
        raise ValueError(f"expected a meter such as 4/4 or 3/4, of 2 to {MOST_BEATS} beats, got {text!r}")
    return int(found[1])


def read_chord(text: str) -> Chord | NoChord:
    """The chord of a symbol such as Am, F#m7 or Bbmaj7; N is none.

    Raises:
        ValueError: there is no such symbol.
    """
    if text == NO_CHORD:
        return NO_CHORD
    try:
        return Chord(*parse_chord_name(text))
    except ValueError:
        raise ValueError(
            f"expected chords such as C, Am, F#m7 or Bbmaj7 (N for none), got {text!r}"
        ) from None


def write_chord(chord: Chord | NoChord, key: Key | None = None) -> str:
    """A chord's symbol, with flats where its key has them."""
    return NO_CHORD if chord == NO_CHORD else f"{_names(key)[chord.root]}{ENDINGS[chord.quality]}"


def read_bars(text: str) -> tuple[Bar, ...]:
    """The bars of "Am | F | C G": chords in one bar share it. Without a bar line, each chord has a bar.

    Raises:
        ValueError: a symbol is unknown, or there is no chord.
    """
    if "|" not in text:
        bars = [[symbol] for symbol in text.split()]
    else:
        bars = [bar.split() for bar in text.strip().strip("|").split("|")]
    if not bars or not all(bars):
        raise ValueError(f'expected chords such as "Am F C G" or "Am | F | C G", got {text!r}')
    read: list[Bar] = []
    for bar in bars:
        if bar == [REPEAT]:
            if not read:
                raise ValueError(f"expected a bar before the first {REPEAT}, which repeats it, in {text!r}")
            read.append(read[-1])
        elif bar == [UNKNOWN]:
            read.append(())
        else:
            read.append(tuple(read_chord(symbol) for symbol in bar))
    return tuple(read)


def write_bars(bars: Sequence[Bar], key: Key | None = None) -> str:
    """Bars as `read_bars` reads them."""
    text = " | ".join(" ".join(write_chord(chord, key) for chord in bar) or UNKNOWN for bar in bars)
    return f"{text} |" if len(bars) == 1 and len(bars[0]) > 1 else text  # else each chord would be a bar


def _names(key: Key | None) -> tuple[str, ...]:
    return FLATS if key is not None and key.tonic in FLAT_KEYS[key.mode] else SHARPS
