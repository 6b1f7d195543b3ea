"""Invented melodies: motifs of one bar, set on chord tones, repeated, varied and led to cadences.

A phrase is a plan of motifs, such as m1 m2 m1 cadence. A motif is a rhythm with a contour in scale
steps; wherever it stands it starts on a chord tone near the phrase's arch and its strong beats are
bent to the chord, so that a repeated motif answers itself a step higher or lower (a sequence).
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from musiclm.corpus.genres import Mood
from musiclm.corpus.piece import Chord
from musiclm.corpus.theory import SCALES, chord_at, chord_tones, nearest, scale_over

# Rhythms of two beats and of whole bars, as note lengths in beats.
_HALF_BARS: tuple[tuple[float, ...], ...] = (
    (2,),
    (1, 1),
    (1.5, 0.5),
    (1, 0.5, 0.5),
    (0.5, 0.5, 1),
    (0.5, 1, 0.5),
    (0.5, 0.5, 0.5, 0.5),
    (0.75, 0.75, 0.5),
    (0.75, 0.25, 1),
    (0.5, 0.25, 0.25, 1),
    (0.5, 0.25, 0.25, 0.5, 0.5),
    (0.25, 0.25, 0.25, 0.25, 0.5, 0.5),
    (0.25,) * 8,
)
_FULL_BARS: dict[int, tuple[tuple[float, ...], ...]] = {
    4: ((4,), (3, 1), (2.5, 0.5, 1), (1.5, 1.5, 1), (3, 0.5, 0.5), (1, 2, 1), (1.5, 1, 1, 0.5)),
    3: (
        (3,),
        (2, 1),
        (1, 1, 1),
        (1.5, 0.5, 1),
        (2, 0.5, 0.5),
        (1, 2),
        (1, 1, 0.5, 0.5),
        (1, 0.5, 0.5, 1),
        (1.5, 0.5, 0.5, 0.5),
        (0.5, 0.5, 1, 1),
        (0.5,) * 6,
        (0.5, 0.25, 0.25, 0.5, 0.5, 0.5, 0.5),
        (0.25, 0.25, 0.5, 0.25, 0.25, 0.5, 0.25, 0.25, 0.5),
    ),
}

_MOTIF_PLANS: dict[int, tuple[str, ...]] = {
    2: ("ac", "ac", "bc"),
    4: ("abac", "aabc", "aaac", "abbc"),
    8: ("abaxabac", "aabxaabc", "abadabec"),
}


@dataclass(frozen=True)
class Tone:
    """A melody note before it becomes a track: `accent` is 0 (weak) … 1 (first beat of a bar)."""

    start: float  # beats
    duration: float  # beats
    pitch: int
    accent: float


@dataclass(frozen=True)
class Phrase:
    """Where a phrase lies, what it repeats, and how it closes ("full" or "half")."""

    letter: str
    start: float  # beats
    bars: int
    cadence: str


@dataclass(frozen=True)
class _Motif:
    onsets: tuple[float, ...]  # beats from the bar line
    durations: tuple[float, ...]
    steps: tuple[int, ...]  # scale steps above the first note


@dataclass(frozen=True)
class Singer:
    """Who sings and in what key: what stays the same through all phrases."""

    tonic: int
    mode: str
    low: int  # MIDI register
    high: int
    beats_per_bar: int
    tempo: float
    mood: Mood
    shortest: float  # seconds: the shortest note the instrument speaks clearly


@lru_cache(maxsize=4)
def _rhythms(beats_per_bar: int) -> tuple[tuple[float, ...], ...]:
    rhythms = set(_FULL_BARS[beats_per_bar])
    if beats_per_bar == 4:
        rhythms |= {first + second for first in _HALF_BARS for second in _HALF_BARS}
    return tuple(sorted(rhythms))


def _syncopated(rhythm: tuple[float, ...]) -> bool:
    position = 0.0
    for length in rhythm:
        if position % 1 and length >= 1:
            return True
        position += length
    return False


def draw_rhythm(singer: Singer, generator: np.random.Generator) -> tuple[float, ...]:
    """Note lengths of one bar, about as many notes as mood and tempo ask for."""
    # Faster music has fewer notes to the beat, though not so few that it stops sounding fast.
    per_beat = singer.mood.density * 60.0 / singer.tempo
    wanted = float(np.clip(per_beat**0.75 * singer.beats_per_bar, 1.0, 4.0 * singer.beats_per_bar))
    fitting, weights = [], []
    for rhythm in _rhythms(singer.beats_per_bar):
        if min(rhythm) * 60.0 / singer.tempo < singer.shortest:
            continue
        weight = np.exp(-((len(rhythm) - wanted) ** 2) / 1.5)
        if _syncopated(rhythm):
            weight *= 0.15 + 1.7 * singer.mood.syncopation
        fitting.append(rhythm)
        weights.append(weight)
    cumulative = np.cumsum(np.asarray(weights) + 1e-9)
    return fitting[int(np.searchsorted(cumulative, generator.random() * cumulative[-1]))]


def _draw_contour(count: int, leap: float, generator: np.random.Generator) -> tuple[int, ...]:
    steps = [0]
    direction = 1 if generator.random() < 0.5 else -1
    for _ in range(count - 1):
        if generator.random() < 0.35:
            direction = -direction
        draw = generator.random() / max(leap, 0.1)
        size = 0 if draw > 1.5 else 1 if draw > 0.35 else 2 if draw > 0.1 else 3
        step = steps[-1] + direction * size
        if abs(step) > 4:  # a motif keeps within a fifth or so of where it began
            direction = -direction
            step = steps[-1] + direction * size
        steps.append(step)
    return tuple(steps)


def _draw_motif(singer: Singer, generator: np.random.Generator) -> _Motif:
    rhythm = draw_rhythm(singer, generator)
    onsets = tuple(float(onset) for onset in np.cumsum((0.0, *rhythm[:-1])))
    return _Motif(onsets, rhythm, _draw_contour(len(rhythm), singer.mood.leap, generator))


def _develop(motif: _Motif, singer: Singer, generator: np.random.Generator) -> _Motif:
    """A relative of `motif`: its contour upside down, backwards or new, or its rhythm's end altered."""
    kind = generator.integers(4)
    if kind == 0:
        return _Motif(motif.onsets, motif.durations, tuple(-step for step in motif.steps))
    if kind == 1:
        last = motif.steps[-1]
        return _Motif(motif.onsets, motif.durations, tuple(step - last for step in reversed(motif.steps)))
    if kind == 2:
        contour = _draw_contour(len(motif.steps), singer.mood.leap, generator)
        return _Motif(motif.onsets, motif.durations, contour)
    return _draw_motif(singer, generator)


def _strong(beat: float, beats_per_bar: int) -> bool:
    return beat % beats_per_bar < 1e-6 or (beats_per_bar == 4 and abs(beat % 4 - 2) < 1e-6)


def _accent(beat: float, beats_per_bar: int) -> float:
    if beat % beats_per_bar < 1e-6:
        return 1.0
    if _strong(beat, beats_per_bar):
        return 0.75
    return 0.5 if beat % 1 < 1e-6 else 0.25


class MelodyWriter:
    """Writes phrase after phrase; phrases of the same letter share their motifs."""

    def __init__(self, singer: Singer, chords: tuple[Chord, ...], generator: np.random.Generator) -> None:
        self._singer = singer
        self._chords = chords
        self._generator = generator
        self._plans: dict[str, tuple[list[_Motif], float, float]] = {}
        self._previous = round((singer.low + singer.high) / 2)
        self._anchor = 0  # pitch the bar before started on

    def phrase(self, phrase: Phrase) -> list[Tone]:
        """The notes of one phrase, closing on a long chord tone of its last bar."""
        singer = self._singer
        motifs, height, arch = self._plan(phrase)
        tones: list[Tone] = []
        for bar, motif in enumerate(motifs[:-1]):
            position = bar / max(phrase.bars - 1, 1)
            target = height + arch * np.sin(np.pi * position)
            tones += self._place(motif, phrase.start + bar * singer.beats_per_bar, target)
        tones = self._connect(tones)
        tones += self._close(phrase, motifs[-1])
        self._previous = tones[-1].pitch
        return tones

    def _plan(self, phrase: Phrase) -> tuple[list[_Motif], float, float]:
        """Motifs of the phrase, pitch its arch starts from, and height of the arch in semitones."""
        if phrase.letter in self._plans:
            motifs, height, arch = self._plans[phrase.letter]
            if len(motifs) > 2 and self._generator.random() < 0.5:  # vary one bar of a repetition
                bar = int(self._generator.integers(1, len(motifs) - 1))
                varied = _develop(motifs[bar], self._singer, self._generator)
                return [*motifs[:bar], varied, *motifs[bar + 1 :]], height, arch
            return motifs, height, arch
        plans = _MOTIF_PLANS[phrase.bars]
        plan = plans[int(self._generator.integers(len(plans)))]
        seed = self._plans["A"][0][0] if "A" in self._plans else None
        known: dict[str, _Motif] = {}
        for name in plan:
            if name in known:
                continue
            if seed is not None and name == "a":
                known[name] = _develop(seed, self._singer, self._generator)
            elif "a" in known and self._generator.random() < 0.4:
                known[name] = _develop(known["a"], self._singer, self._generator)
            else:
                known[name] = _draw_motif(self._singer, self._generator)
        span = self._singer.high - self._singer.low
        lift = 0.0 if seed is None else 0.14 * span  # a contrasting phrase lies higher
        height = self._singer.low + span * (0.3 + 0.25 * self._generator.random()) + lift
        rises = self._generator.random() < 0.3 + 0.4 * (self._singer.mood.major)
        arch = span * (0.15 + 0.2 * self._generator.random()) * (1 if rises else -0.6)
        self._plans[phrase.letter] = [known[name] for name in plan], height, arch
        return self._plans[phrase.letter]

    def _fit(self, pitch: int, beat: float, *, to_chord: bool) -> int:
        chord = chord_at(self._chords, beat)
        singer = self._singer
        classes: frozenset[int] | tuple[int, ...] = chord_tones(chord.root, chord.quality)
        if not to_chord:
            classes = scale_over(singer.tonic, singer.mode, chord.root, chord.quality)
        return nearest(pitch, classes, low=singer.low, high=singer.high)

    def _shift(self, pitch: int, steps: int) -> int:
        """`steps` degrees of the key's scale above `pitch`, whether or not `pitch` is in the scale."""
        scale = SCALES[self._singer.mode]
        octave, remainder = divmod(pitch - self._singer.tonic, 12)
        degree = max(index for index, step in enumerate(scale) if step <= remainder)
        octaves, degree = divmod(degree + steps, 7)
        return self._singer.tonic + 12 * (octave + octaves) + scale[degree]

    def _place(self, motif: _Motif, start: float, target: float) -> list[Tone]:
        singer = self._singer
        # Half the way to the arch, half near the last note: sung lines do not jump at bar lines.
        anchor = self._fit(round(0.5 * target + 0.5 * self._previous), start, to_chord=True)
        if anchor == self._anchor and self._generator.random() < 0.75:
            anchor = self._fit(anchor + (4 if target > anchor else -4), start, to_chord=True)
        self._anchor = anchor
        tones: list[Tone] = []
        before = 0
        for onset, duration, step in zip(motif.onsets, motif.durations, motif.steps, strict=True):
            beat = start + onset
            on_beat = beat % 1 < 1e-6
            to_chord = _strong(beat, singer.beats_per_bar) or (on_beat and self._generator.random() < 0.6)
            to_chord = to_chord or duration >= 2
            pitch = self._fit(self._shift(anchor, step), beat, to_chord=to_chord)
            if tones and pitch == tones[-1].pitch and step != before:
                # Bending to the chord must not flatten the contour: move on to the next note of it.
                pitch = self._fit(pitch + (3 if step > before else -3), beat, to_chord=to_chord)
            before = step
            tones.append(Tone(beat, duration, pitch, _accent(beat, singer.beats_per_bar)))
        self._previous = tones[-1].pitch
        return tones

    def _connect(self, tones: list[Tone]) -> list[Tone]:
        """Weak notes foreign to the chord become passing or neighbour notes, or chord tones."""
        connected = list(tones)
        for index, tone in enumerate(tones):
            chord = chord_at(self._chords, tone.start)
            if tone.pitch % 12 in chord_tones(chord.root, chord.quality) or index == 0:
                continue
            before = connected[index - 1].pitch
            after = tones[index + 1].pitch if index + 1 < len(tones) else before
            if abs(tone.pitch - before) <= 2 and abs(tone.pitch - after) <= 2:
                continue
            if 3 <= abs(after - before) <= 4:
                pitch = self._fit((before + after) // 2, tone.start, to_chord=False)
            else:
                pitch = self._fit(tone.pitch, tone.start, to_chord=True)
            connected[index] = Tone(tone.start, tone.duration, pitch, tone.accent)
        return connected

    def _close(self, phrase: Phrase, motif: _Motif) -> list[Tone]:
        """The last bar: the motif's beginning runs into a long note that a breath follows."""
        singer = self._singer
        start = phrase.start + (phrase.bars - 1) * singer.beats_per_bar
        chord = chord_at(self._chords, start)
        tones = chord_tones(chord.root, chord.quality)
        goals = tones[:1] if phrase.cadence == "full" else tones[:3]
        goal = nearest(self._previous, goals, low=singer.low, high=singer.high)
        held = singer.beats_per_bar - (1.0 if phrase.bars > 2 else 0.5)
        run = [length for length in motif.durations[:2] if length <= 0.5]
        if len(run) == 2 and self._generator.random() < 0.5 and sum(run) <= 1.0:
            # Two quick notes, a chord tone and the goal's upper neighbour, before the goal itself.
            first = self._fit(self._shift(goal, 2), start, to_chord=True)
            neighbour = self._fit(self._shift(goal, 1), start, to_chord=False)
            return [
                Tone(start, run[0], first, 1.0),
                Tone(start + run[0], run[1], neighbour, 0.25),
                Tone(start + sum(run), held - sum(run), goal, 0.9),
            ]
        return [Tone(start, held, goal, 1.0)]
