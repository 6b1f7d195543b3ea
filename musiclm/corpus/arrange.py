"""Accompaniment: turns chords and rhythmic patterns into notes for chords, bass, pad, drums and more."""

from dataclasses import dataclass

import numpy as np

from musiclm.corpus.instruments import PERCUSSION, Instrument
from musiclm.corpus.melody import Tone
from musiclm.corpus.patterns import FILLS, SOFT_FILLS, STEPS_PER_BEAT, Beat
from musiclm.corpus.piece import Chord, Note, velocity_within
from musiclm.corpus.theory import chord_at, chord_tones, nearest, scale_over, voice

_STROKES = {"X": 1.0, "x": 0.82, "o": 0.58}
_STEP = 1.0 / STEPS_PER_BEAT


@dataclass(frozen=True)
class Bar:
    """One bar to accompany."""

    start: float  # beats
    beats: int
    intensity: float  # 0 … 1
    last_of_phrase: bool
    first_of_phrase: bool


def chord_register(instrument: Instrument, lead: Instrument) -> tuple[int, int]:
    """Where the chords lie: around middle C, below a high lead and above a low one."""
    low, high = (55, 74) if lead.lead_low < 54 else (50, 69)
    low = max(low, instrument.lowest)
    return low, max(min(high, instrument.highest), low + 16)


class Voicings:
    """The voicing of each chord in turn, each led smoothly from the one before."""

    def __init__(self, chords: tuple[Chord, ...], *, size: int, low: int, high: int) -> None:
        self._chords = chords
        self._pitches: dict[float, tuple[int, ...]] = {}
        previous: tuple[int, ...] | None = None
        for chord in chords:
            parts = min(size, 3) if chord.quality == "power" else size
            previous = voice(chord, previous, size=parts, low=low, high=high)
            self._pitches[chord.start] = previous

    def at(self, beat: float) -> tuple[int, ...]:
        return self._pitches[chord_at(self._chords, beat).start]


def _events(line: str) -> list[tuple[int, int, str]]:
    """A pattern's signs with their places: (step, steps it lasts, sign)."""
    events: list[tuple[int, int, str]] = []
    for step, sign in enumerate(line):
        if sign == "-" and events and sum(events[-1][:2]) == step:
            first, length, earlier = events[-1]
            events[-1] = (first, length + 1, earlier)
        elif sign not in ".-":
            events.append((step, 1, sign))
    return events


def strikes_per_beat(line: str) -> float:
    """How many times a beat a pattern strikes."""
    return len(_events(line)) * STEPS_PER_BEAT / len(line)


def _boundaries(chords: tuple[Chord, ...], start: float, end: float) -> list[float]:
    return [chord.start for chord in chords if start + 1e-6 < chord.start < end - 1e-6]


def play_chords(
    bar: Bar, line: str, chords: tuple[Chord, ...], voicings: Voicings, instrument: Instrument, level: float
) -> list[Note]:
    """One bar of accompaniment after `line`; `level` is the velocity of a normal stroke."""
    notes: list[Note] = []
    for step, length, sign in _events(line):
        start, end = bar.start + step * _STEP, bar.start + (step + length) * _STEP
        changes = _boundaries(chords, start, end)  # a held chord is struck anew when the harmony moves
        for begin, stop in zip([start, *changes], [*changes, end], strict=True):
            pitches = voicings.at(begin)
            if sign.isdigit():
                octave, index = divmod(int(sign), len(pitches))
                pitches = (min(pitches[index] + 12 * octave, instrument.highest),)
                velocity = level * (0.95 if step == 0 else 0.85)
                stop = max(stop, begin + 0.5)
            else:
                velocity = level * _STROKES[sign]
            notes += _strike(pitches, begin, stop - begin, velocity * (0.8 + 0.2 * bar.intensity), instrument)
    return notes


def _strike(
    pitches: tuple[int, ...], start: float, duration: float, velocity: float, instrument: Instrument
) -> list[Note]:
    delay = 0.025 if instrument.strums and len(pitches) > 1 else 0.0
    value = velocity_within(round(velocity))
    return [
        Note(start + delay * index, max(duration * 0.96 - delay * index, 0.1), pitch, value)
        for index, pitch in enumerate(pitches)
    ]


def play_pad(
    chords: tuple[Chord, ...], ends: list[float], voicings: Voicings, *, begin: float, level: float
) -> list[Note]:
    """Every chord from beat `begin` on, held until the next; tones two chords share are tied."""
    notes: list[Note] = []
    sounding: dict[int, float] = {}
    velocity = int(level)
    for index, (chord, end) in enumerate(zip(chords, ends, strict=True)):
        start = max(chord.start, begin)
        if end <= begin:
            continue
        pitches = voicings.at(chord.start)
        for pitch in pitches:
            sounding.setdefault(pitch, start)
        following = voicings.at(chords[index + 1].start) if index + 1 < len(chords) else ()
        for pitch in pitches:
            if pitch not in following:
                notes.append(Note(sounding[pitch], end - sounding[pitch], pitch, velocity))
                del sounding[pitch]
    return sorted(notes, key=lambda note: (note.start, note.pitch))


def play_bass(
    bar: Bar,
    line: str,
    chords: tuple[Chord, ...],
    key: tuple[int, str],
    previous: int,
    instrument: Instrument,
    level: float,
) -> list[Note]:
    """One bar of bass after `line`, in an octave near `previous`."""
    low, high = instrument.lowest, min(instrument.lowest + 21, instrument.highest)
    notes: list[Note] = []
    previous = (previous + low + 9) // 2  # half a pull home, or a chain of fifths walks out of the register
    for step, length, sign in _events(line):
        start = bar.start + step * _STEP
        end = bar.start + (step + length) * _STEP
        changes = _boundaries(chords, start, end)
        for begin, stop in zip([start, *changes], [*changes, end], strict=True):
            chord = chord_at(chords, begin)
            tones = chord_tones(chord.root, chord.quality)
            root = nearest(previous, tones[:1], low=low, high=high)
            sign_here = "R" if begin != start else sign
            if sign_here == "8":
                pitch = root + 12 if root + 12 <= instrument.highest else root
            elif sign_here == "3":
                third = tones[1] if len(tones) > 2 else tones[0]
                pitch = nearest(root + 3, (third,), low=low, high=instrument.highest)
            elif sign_here == "5":
                fifth = tones[2] if len(tones) > 2 else tones[1]
                below = root - 5 >= low and root - low > 10
                pitch = nearest(root - 5 if below else root + 7, (fifth,), low=low, high=instrument.highest)
            elif sign_here == "a":
                following = chord_at(chords, bar.start + bar.beats)
                goal = nearest(root, (following.root,), low=low, high=high)
                side = 1 if root > goal or goal - 2 < low else -1
                scale = scale_over(*key, chord.root, chord.quality) - {goal % 12}
                pitch = nearest(goal + 2 * side, scale, low=low, high=instrument.highest)
            else:
                pitch = root
            accent = 0.85 if sign == "r" else 1.0 if step == 0 else 0.92
            velocity = velocity_within(level * accent * (0.85 + 0.15 * bar.intensity))
            notes.append(Note(begin, (stop - begin) * 0.93, pitch, velocity))
    return notes


def play_drums(
    bar: Bar, beat: Beat, generator: np.random.Generator, *, level: float, fill: bool, soft: bool, crash: bool
) -> list[Note]:
    """One bar of drums; a fill takes the place of its end, a cymbal marks its beginning."""
    steps = bar.beats * STEPS_PER_BEAT
    lines = dict(beat.lines)
    chosen: dict[str, str] = {}
    if fill:
        fills = SOFT_FILLS if soft else FILLS
        chosen = fills[int(generator.integers(len(fills)))]
        length = len(next(iter(chosen.values())))
        lines = {name: line[: steps - length] for name, line in lines.items() if name != "crash"}
    notes: list[Note] = []

    def stroke(name: str, step: int, sign: str, scale: float = 1.0) -> None:
        value = level * _STROKES[sign] * scale * (0.95 + 0.1 * generator.random())
        notes.append(Note(bar.start + step * _STEP, _STEP, PERCUSSION[name], velocity_within(value)))

    for name, line in lines.items():
        for step, sign in enumerate(line):
            if sign in _STROKES:
                stroke(name, step, sign, 0.8 if name in ("hat", "shaker", "ride", "open") else 1.0)
    for name, line in chosen.items():
        for step, sign in enumerate(line):
            if sign in _STROKES:
                stroke(name, steps - len(line) + step, sign)
    if crash:
        stroke("crash", 0, "x")
    return sorted(notes, key=lambda note: (note.start, note.pitch))


def play_counter(
    lead: list[Tone],
    chords: tuple[Chord, ...],
    instrument: Instrument,
    *,
    start: float,
    end: float,
    beats_per_bar: int,
    level: float,
) -> list[Note]:
    """A second voice: slow chord tones under the lead, moving where the lead holds still."""
    ceiling = sorted(tone.pitch for tone in lead)[len(lead) // 2] - 2
    low = max(instrument.lowest, min(instrument.lead_low - 7, ceiling - 12))
    high = min(instrument.highest, max(low + 11, min(low + 16, ceiling)))
    pitch = (low + high) // 2
    held = [tone for tone in lead if tone.duration >= beats_per_bar / 2]
    notes: list[Note] = []
    bar = start
    while bar < end - 1e-6:
        answers = [t for t in held if bar <= t.start < bar + beats_per_bar and t.start % beats_per_bar < 1]
        half = beats_per_bar // 2
        cuts = [0.0, half, half + 1.0] if answers else [0.0]
        for cut, following in zip(cuts, [*cuts[1:], float(beats_per_bar)], strict=True):
            chord = chord_at(chords, bar + cut)
            tones = chord_tones(chord.root, chord.quality)
            above = {t.pitch % 12 for t in lead if t.start <= bar + cut < t.start + t.duration}
            free = [tone for tone in tones if tone not in above] or list(tones)
            if len(cuts) > 1 and cut > 0:  # step away from the note before, so that the answer moves
                free = [tone for tone in free if tone != pitch % 12] or free
            pitch = nearest(pitch, free, low=low, high=high)
            notes.append(Note(bar + cut, (following - cut) * 0.95, pitch, int(level)))
        bar += beats_per_bar
    return notes
