"""Harmony in pitch classes and MIDI numbers: scales, chord qualities, chord names and voice leading.

Two notations name chords. Roman numerals count degrees of the major scale whatever the mode
("bVI" is the flat sixth degree, lower case is minor); chord names are the usual ones ("F#m7").
"""

import re
from collections.abc import Iterable
from functools import lru_cache

from musiclm.corpus.piece import Chord

MAJOR_KEYS = ("C", "D flat", "D", "E flat", "E", "F", "F sharp", "G", "A flat", "A", "B flat", "B")
MINOR_KEYS = ("C", "C sharp", "D", "E flat", "E", "F", "F sharp", "G", "G sharp", "A", "B flat", "B")

MAJOR_SCALE = (0, 2, 4, 5, 7, 9, 11)
SCALES = {"major": MAJOR_SCALE, "minor": (0, 2, 3, 5, 7, 8, 10)}

# Semitones above the root, in order of importance: what a thin voicing drops comes last but one.
QUALITIES: dict[str, tuple[int, ...]] = {
    "major": (0, 4, 7),
    "minor": (0, 3, 7),
    "diminished": (0, 3, 6),
    "augmented": (0, 4, 8),
    "dominant7": (0, 4, 7, 10),
    "major7": (0, 4, 7, 11),
    "minor7": (0, 3, 7, 10),
    "half-diminished7": (0, 3, 6, 10),
    "diminished7": (0, 3, 6, 9),
    "major6": (0, 4, 7, 9),
    "minor6": (0, 3, 7, 9),
    "suspended2": (0, 2, 7),
    "suspended4": (0, 5, 7),
    "power": (0, 7),
}

_DEGREES = ("i", "ii", "iii", "iv", "v", "vi", "vii")
_SUFFIXES = {
    "maj7": "major7",
    "m7b5": "half-diminished7",
    "dim7": "diminished7",
    "dim": "diminished",
    "aug": "augmented",
    "sus2": "suspended2",
    "sus4": "suspended4",
    "5": "power",
}
_MAJOR_SUFFIXES = {"": "major", "7": "dominant7", "6": "major6"}
_MINOR_SUFFIXES = {"": "minor", "7": "minor7", "6": "minor6"}
_ROMAN = re.compile(r"([b#]?)([iv]+|[IV]+)(.*)")
_NAMED = re.compile(r"([A-G])([b#]?)(m(?!aj|7b5))?(.*)")
_LETTERS = {"C": 0, "D": 2, "E": 4, "F": 5, "G": 7, "A": 9, "B": 11}
_ACCIDENTALS = {"": 0, "b": -1, "#": 1}


def key_name(tonic: int, mode: str) -> str:
    """Plain English name of a key, such as "F sharp minor"."""
    names = MAJOR_KEYS if mode == "major" else MINOR_KEYS
    return f"{names[tonic]} {mode}"


@lru_cache(maxsize=512)
def parse_roman(symbol: str, tonic: int) -> tuple[int, str]:
    """Roman numeral to (pitch class of the root, quality): "ii7", "bVII", "viim7b5", "Isus4"."""
    match = _ROMAN.fullmatch(symbol)
    if match is None or match[2].lower() not in _DEGREES:
        raise ValueError(f"expected a Roman numeral such as ii7 or bVII, got {symbol!r}")
    accidental, numeral, suffix = match.groups()
    root = tonic + MAJOR_SCALE[_DEGREES.index(numeral.lower())] + _ACCIDENTALS[accidental]
    return root % 12, _quality(symbol, suffix, minor=numeral.islower())


@lru_cache(maxsize=512)
def parse_chord_name(symbol: str) -> tuple[int, str]:
    """Chord name to (pitch class of the root, quality): "C", "F#m7", "Bbmaj7", "Edim"."""
    match = _NAMED.fullmatch(symbol)
    if match is None:
        raise ValueError(f"expected a chord name such as C, F#m7 or Bbmaj7, got {symbol!r}")
    letter, accidental, minor, suffix = match.groups()
    root = _LETTERS[letter] + _ACCIDENTALS[accidental]
    return root % 12, _quality(symbol, suffix, minor=minor is not None)


def _quality(symbol: str, suffix: str, *, minor: bool) -> str:
    suffixes = _SUFFIXES | (_MINOR_SUFFIXES if minor else _MAJOR_SUFFIXES)
    if suffix not in suffixes:
        known = ", ".join(sorted(filter(None, suffixes)))
        raise ValueError(f"chord {symbol!r}: unknown ending {suffix!r}; known endings are {known}")
    return suffixes[suffix]


@lru_cache(maxsize=1024)
def chord_tones(root: int, quality: str) -> tuple[int, ...]:
    """Pitch classes of a chord, root first."""
    return tuple((root + interval) % 12 for interval in QUALITIES[quality])


def chord_at(chords: tuple[Chord, ...], beat: float) -> Chord:
    """The chord that sounds at `beat`; `chords` are in order of time."""
    low, high = 0, len(chords)
    while high - low > 1:
        middle = (low + high) // 2
        if chords[middle].start <= beat + 1e-6:
            low = middle
        else:
            high = middle
    return chords[low]


@lru_cache(maxsize=4096)
def scale_over(tonic: int, mode: str, root: int, quality: str) -> frozenset[int]:
    """Pitch classes a melody may use over a chord: the key's scale, bent to hold all chord tones.

    Over V in minor this raises the seventh degree, over a borrowed chord its foreign degree.
    """
    scale = {(tonic + step) % 12 for step in SCALES[mode]}
    tones = chord_tones(root, quality)
    for tone in tones:
        if tone not in scale:
            scale -= {(tone + 1) % 12, (tone - 1) % 12} - set(tones)
            scale.add(tone)
    return frozenset(scale)


def nearest(pitch: int, classes: Iterable[int], *, low: int = 0, high: int = 127) -> int:
    """The MIDI pitch nearest to `pitch` within [low, high] whose pitch class is one of `classes`."""
    allowed = frozenset(classes)
    for distance in range(0, 128):
        for candidate in (pitch - distance, pitch + distance):
            if low <= candidate <= high and candidate % 12 in allowed:
                return candidate
    raise ValueError(f"no pitch of the classes {sorted(allowed)} lies between {low} and {high}")


@lru_cache(maxsize=4096)
def _voicings(classes: tuple[int, ...], size: int, low: int, high: int) -> tuple[tuple[int, ...], ...]:
    chosen = list(classes)
    while len(chosen) > size:
        chosen.pop(-2 if len(chosen) > 3 else -1)  # the fifth goes first: it says least
    found = []
    for start in range(low, high + 1):
        if start % 12 not in chosen:
            continue
        pitches = [pitch for pitch in range(start, high + 1) if pitch % 12 in chosen][:size]
        if len(pitches) == size:
            found.append(tuple(pitches))
    return tuple(found)


def voice(
    chord: Chord, previous: tuple[int, ...] | None, *, size: int, low: int, high: int
) -> tuple[int, ...]:
    """Close voicing of `chord` with `size` pitches in [low, high] that moves least from `previous`.

    Without a previous voicing it lies nearest to the middle of the range.
    """
    tones = chord_tones(chord.root, chord.quality)
    voicings = _voicings(tones, size, low, high)
    if not voicings and size > len(tones):  # a doubled tone may not fit into a narrow range: do without it
        size = len(tones)
        voicings = _voicings(tones, size, low, high)
    if not voicings:
        raise ValueError(f"no {size}-part voicing of {chord.quality} on {chord.root} in {low}..{high}")
    if previous is None or len(previous) != size:
        previous = (round((low + high) / 2),) * size
    target = previous
    centre = size * (low + high) / 2

    def movement(pitches: tuple[int, ...]) -> float:
        drift = abs(sum(pitches) - centre)  # a slight pull home, or a long chain climbs away
        return sum(abs(a - b) for a, b in zip(pitches, target, strict=True)) + 0.15 * drift

    return min(voicings, key=movement)
