"""The songbook: public-domain tunes in a notation of their own, with key, metre, melody and chords.

songbook.txt holds one tune after another, separated by blank lines; "#" at the start of a line is a
comment. A tune is a heading and pairs of lines, each pair one phrase:

    Twinkle Twinkle Little Star; C major; 4/4
      melody  c1 c1 g1 g1 | a1 a1 g2
      chords  C           | F     C

Melody: bars between "|", in them notes: a letter, "#" or "b" (every accidental is written), octave
marks as in Helmholtz's notation turned plain ("c" is middle C, "c'" the octave above, "c," the one
below) and a length in beats, a quarter being 1: "f#'1.5", "bb,0.5", "r1" a rest; "~" after a length
ties the note to the next of the same pitch. Chords: as many bars; names inside a bar share it
equally, "." keeps the chord before.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files

from musiclm.corpus.theory import parse_chord_name

_NOTE = re.compile(r"([a-g])([#b]?)('*|,*)(\d+(?:\.\d+)?|\.\d+)(~?)|(r)(\d+(?:\.\d+)?|\.\d+)")
_HEADING = re.compile(r"(?P<title>[^;]+);\s*(?P<key>[A-G][#b]?) (?P<mode>major|minor);\s*(?P<beats>[34])/4")
_LETTERS = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}
_MIDDLE_C = 60


@dataclass(frozen=True)
class TuneNote:
    start: float  # beats from the beginning of its phrase
    duration: float  # beats
    pitch: int  # MIDI note number in the key as written


@dataclass(frozen=True)
class TuneChord:
    start: float  # beats from the beginning of its phrase
    root: int  # pitch class in the key as written
    quality: str


@dataclass(frozen=True)
class TunePhrase:
    bars: int
    notes: tuple[TuneNote, ...]
    chords: tuple[TuneChord, ...]


@dataclass(frozen=True)
class Tune:
    title: str
    tonic: int  # pitch class of the key as written
    mode: str
    beats_per_bar: int
    phrases: tuple[TunePhrase, ...]

    @property
    def bars(self) -> int:
        return sum(phrase.bars for phrase in self.phrases)

    @property
    def lowest(self) -> int:
        return min(note.pitch for phrase in self.phrases for note in phrase.notes)

    @property
    def highest(self) -> int:
        return max(note.pitch for phrase in self.phrases for note in phrase.notes)


def parse_songbook(text: str) -> dict[str, Tune]:
    """Title to tune, in the order written; a ValueError names the tune and bar of a mistake."""
    tunes: dict[str, Tune] = {}
    block: list[str] = []
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if line.strip():
            block.append(line.strip())
        elif block:
            tune = _parse_tune(block)
            if tune.title in tunes:
                raise ValueError(f"songbook: {tune.title} stands in it twice; remove one")
            tunes[tune.title] = tune
            block = []
    return tunes


def _parse_tune(lines: list[str]) -> Tune:
    heading = _HEADING.fullmatch(lines[0])
    if heading is None:
        raise ValueError(f"songbook: expected a heading like 'Title; C major; 4/4', got {lines[0]!r}")
    title, beats = heading["title"].strip(), int(heading["beats"])
    melody = [line.split(None, 1)[1] for line in lines[1:] if line.startswith("melody ")]
    chords = [line.split(None, 1)[1] for line in lines[1:] if line.startswith("chords ")]
    if not melody or len(melody) != len(chords) or 2 * len(melody) != len(lines) - 1:
        raise ValueError(f"{title}: expected pairs of a 'melody' and a 'chords' line under the heading")
    phrases = tuple(
        _parse_phrase(f"{title}, line {index + 1}", notes, names, beats)
        for index, (notes, names) in enumerate(zip(melody, chords, strict=True))
    )
    tonic = _LETTERS[heading["key"][0].lower()] + {"": 0, "#": 1, "b": -1}[heading["key"][1:]]
    return Tune(title, tonic % 12, heading["mode"], beats, phrases)


def _parse_phrase(where: str, melody: str, chords: str, beats: int) -> TunePhrase:
    melody_bars, chord_bars = melody.split("|"), chords.split("|")
    if len(melody_bars) != len(chord_bars):
        raise ValueError(f"{where}: {len(melody_bars)} bars of melody but {len(chord_bars)} of chords")
    return TunePhrase(
        bars=len(melody_bars),
        notes=tuple(_parse_melody(where, melody_bars, beats)),
        chords=tuple(_parse_chords(where, chord_bars, beats)),
    )


def _parse_melody(where: str, bars: list[str], beats: int) -> list[TuneNote]:
    notes: list[TuneNote] = []
    tied = False
    for index, bar in enumerate(bars):
        position = 0.0
        for word in bar.split():
            match = _NOTE.fullmatch(word)
            if match is None:
                raise ValueError(
                    f"{where}, bar {index + 1}: expected a note such as f#'1.5 or r1, got {word!r}"
                )
            duration = float(match[4] or match[7])
            if match[6] is None:
                pitch = _pitch(match[1], match[2], match[3])
                if tied and notes and notes[-1].pitch == pitch:
                    notes[-1] = TuneNote(notes[-1].start, notes[-1].duration + duration, pitch)
                elif tied:
                    raise ValueError(f"{where}, bar {index + 1}: {word!r} cannot continue a tied note")
                else:
                    notes.append(TuneNote(index * beats + position, duration, pitch))
                tied = bool(match[5])
            position += duration
        if tied and index == len(bars) - 1:
            raise ValueError(f"{where}, bar {index + 1}: a tie cannot lead out of a phrase; shorten the note")
        if abs(position - beats) > 1e-6:
            raise ValueError(f"{where}, bar {index + 1}: expected {beats} beats, got {position:g} in {bar!r}")
    return notes


def _pitch(letter: str, accidental: str, octaves: str) -> int:
    octave = len(octaves) * (1 if octaves.startswith("'") else -1)
    return _MIDDLE_C + _LETTERS[letter] + {"": 0, "#": 1, "b": -1}[accidental] + 12 * octave


def _parse_chords(where: str, bars: list[str], beats: int) -> list[TuneChord]:
    chords: list[TuneChord] = []
    for index, bar in enumerate(bars):
        names = bar.split()
        if not names:
            raise ValueError(f"{where}, bar {index + 1}: expected a chord or '.', got nothing")
        for place, name in enumerate(names):
            if name == ".":
                if not chords:
                    raise ValueError(f"{where}: the first bar needs a chord, '.' has none to keep")
                continue
            chords.append(TuneChord(index * beats + place * beats / len(names), *parse_chord_name(name)))
    return chords


@lru_cache(maxsize=1)
def _read() -> dict[str, Tune]:
    return parse_songbook(files("musiclm.corpus").joinpath("songbook.txt").read_text(encoding="utf-8"))


SONGBOOK: dict[str, Tune] = _read()
