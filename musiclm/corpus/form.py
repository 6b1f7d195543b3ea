"""The plan of a piece: phrases with their letters, an introduction, an ending, and the harmony under it."""

from dataclasses import dataclass

import numpy as np

from musiclm.corpus.genres import GENRES, Genre
from musiclm.corpus.melody import Phrase, Tone
from musiclm.corpus.piece import Attributes, Chord
from musiclm.corpus.songbook import SONGBOOK, Tune
from musiclm.corpus.theory import parse_roman

SHORTEST, LONGEST = 30.0, 45.0  # seconds
_RING = 2.6  # seconds the last chord rings at least
_LETTERS = (
    "AA", "AB", "ABA", "AAB", "AABA", "AABA", "ABAC", "ABAB", "AABB", "AABC", "ABCA", "AABCA", "ABACA",
    "AABABA", "ABABCB", "AABBAA", "ABACABA", "AABAABA", "AABBAACA",
)  # fmt: skip
# Genres built on a loop keep it at half cadences instead of turning to the dominant.
_LOOPING = frozenset({"techno", "hip hop", "ambient", "reggae"})


@dataclass(frozen=True)
class Form:
    beats_per_bar: int
    intro_bars: int
    phrases: tuple[Phrase, ...]
    ending: float  # beat of the last chord
    beats: float  # length of the piece
    chords: tuple[Chord, ...]
    melody: tuple[tuple[Tone, ...], ...] | None  # of a songbook tune, one tuple a phrase, as written


def plan(attributes: Attributes, generator: np.random.Generator) -> Form:
    """Form and harmony of a piece of 30–45 s with these labels."""
    genre = GENRES[attributes.genre]
    if attributes.tune:
        return _plan_tune(attributes, SONGBOOK[attributes.tune], genre, generator)
    return _plan_invented(attributes, genre, generator)


def _ending_beats(attributes: Attributes) -> int:
    return int(np.ceil(_RING * attributes.tempo / 60.0))


def _plan_invented(attributes: Attributes, genre: Genre, generator: np.random.Generator) -> Form:
    beats_per_bar = genre.metres[int(generator.integers(len(genre.metres)))]
    bar_seconds = beats_per_bar * 60.0 / attributes.tempo
    ending_beats = _ending_beats(attributes)
    options, weights = [], []
    for letters in _LETTERS:
        for phrase_bars in (2, 4, 8):
            for intro_bars in (0, 1, 2, 4):
                length = (intro_bars + len(letters) * phrase_bars) * beats_per_bar + ending_beats
                if (
                    not SHORTEST <= length * 60.0 / attributes.tempo <= LONGEST
                    or intro_bars * bar_seconds > 5.5
                ):
                    continue
                phrase_seconds = phrase_bars * bar_seconds
                weight = np.exp(-(((phrase_seconds - 9.0) / 3.0) ** 2)) * (2.0 if intro_bars == 0 else 1.0)
                options.append((letters, phrase_bars, intro_bars))
                weights.append(weight + 1e-6)
    cumulative = np.cumsum(weights)
    letters, phrase_bars, intro_bars = options[
        int(np.searchsorted(cumulative, generator.random() * cumulative[-1]))
    ]

    phrases = []
    for index, letter in enumerate(letters):
        last = index == len(letters) - 1
        full = last or (index % 2 == 1 and generator.random() < 0.6)
        start = float((intro_bars + index * phrase_bars) * beats_per_bar)
        phrases.append(Phrase(letter, start, phrase_bars, "full" if full else "half"))
    # Half of the pieces lead their last phrase to the dominant and resolve it on the ring-out chord.
    elided = bool(generator.random() < 0.5)
    if elided:
        phrases[-1] = Phrase(letters[-1], phrases[-1].start, phrase_bars, "half")

    home = genre.cadences[f"full {attributes.mode}"].split("|")[1].split()[-1]
    bars = [[home] for _ in range(intro_bars)]
    if intro_bars > 1:
        bars[-1] = [home, genre.cadences[f"half {attributes.mode}"].split("|")[1].split()[-1]]
    loops: dict[str, list[list[str]]] = {}
    for index, phrase in enumerate(phrases):
        resolves = elided and index == len(phrases) - 1
        bars += _phrase_harmony(phrase, genre, attributes.mode, loops, generator, resolves=resolves)
    ending = float(len(bars) * beats_per_bar)
    chords = _chords([*bars, [home]], beats_per_bar, attributes.tonic)
    beats = ending + ending_beats
    return Form(beats_per_bar, intro_bars, tuple(phrases), ending, beats, chords, None)


def _bars(progression: str) -> list[list[str]]:
    return [bar.split() for bar in progression.split("|")]


def _phrase_harmony(
    phrase: Phrase,
    genre: Genre,
    mode: str,
    loops: dict[str, list[list[str]]],
    generator: np.random.Generator,
    *,
    resolves: bool,
) -> list[list[str]]:
    """Roman numerals of each bar; phrases of one letter share their progression up to the cadence."""
    if phrase.letter not in loops:
        progressions = genre.major if mode == "major" else genre.minor
        taken = list(loops.values())
        fresh = [bars for bars in map(_bars, progressions) if not any(bars == t[:4] for t in taken)]
        choices = fresh or [_bars(progression) for progression in progressions]
        first = choices[int(generator.integers(len(choices)))]
        others = [bars for bars in map(_bars, progressions) if bars != first]
        second = first
        if phrase.letter != "A" or generator.random() < 0.5:
            second = others[int(generator.integers(len(others)))]
        loops[phrase.letter] = first + second
    loop = loops[phrase.letter][: phrase.bars]
    if resolves:
        closing = _bars(genre.cadences[f"full {mode}"])[0]
        last_two = [[closing[0]], [closing[-1]]] if len(closing) > 1 else [loop[-2], closing]
    elif phrase.cadence == "half" and (genre.name in _LOOPING or generator.random() < 0.3):
        return loop
    else:
        last_two = _bars(genre.cadences[f"{phrase.cadence} {mode}"])
    if phrase.bars == 2:
        return [[loop[0][0], last_two[0][-1]], last_two[1]]
    return [*loop[:-2], *last_two]


def _chords(bars: list[list[str]], beats_per_bar: int, tonic: int) -> tuple[Chord, ...]:
    chords: list[Chord] = []
    for index, bar in enumerate(bars):
        # Two chords in a bar of three beats meet on the third beat.
        cuts = (
            (0, 2)
            if beats_per_bar == 3 and len(bar) == 2
            else range(0, beats_per_bar, beats_per_bar // len(bar))
        )
        for cut, symbol in zip(cuts, bar, strict=False):
            root, quality = parse_roman(symbol, tonic)
            chords.append(Chord(float(index * beats_per_bar + cut), root, quality))
    return _merge(chords)


def _merge(chords: list[Chord]) -> tuple[Chord, ...]:
    merged: list[Chord] = []
    for chord in chords:
        if not merged or (merged[-1].root, merged[-1].quality) != (chord.root, chord.quality):
            merged.append(chord)
    return tuple(merged)


def _plan_tune(attributes: Attributes, tune: Tune, genre: Genre, generator: np.random.Generator) -> Form:
    """The tune's own phrases, repeated or shortened so that the piece lasts 30–45 s."""
    beats_per_bar = tune.beats_per_bar
    bar_seconds = beats_per_bar * 60.0 / attributes.tempo
    ending_beats = _ending_beats(attributes)
    intro_bars, order = 0, None
    for intro_bars in (int(generator.integers(2)), 0, 1):
        order = _fit_phrases(tune, bar_seconds, intro_bars + ending_beats / beats_per_bar)
        if order is not None:
            break
    if order is None:
        raise ValueError(
            f"{tune.title} does not fill {SHORTEST:g} to {LONGEST:g} s at {attributes.tempo:g} bpm"
        )
    shift = attributes.tonic - tune.tonic

    home = "I" if attributes.mode == "major" else "i"
    chords = [Chord(0.0, *parse_roman(home, attributes.tonic))] if intro_bars else []
    position = float(intro_bars * beats_per_bar)
    phrases, melody = [], []
    for index in order:
        phrase = tune.phrases[index]
        letter = chr(ord("A") + _first_like(tune, index))
        phrases.append(Phrase(letter, position, phrase.bars, "full"))
        melody.append(
            tuple(
                Tone(
                    position + note.start,
                    note.duration,
                    note.pitch + shift,
                    _accent(note.start, tune),
                )
                for note in phrase.notes
            )
        )
        for chord in phrase.chords:
            root = (chord.root + shift) % 12
            chords.append(Chord(position + chord.start, root, chord.quality))
        position += phrase.bars * beats_per_bar
    chords.append(Chord(position, *parse_roman(home, attributes.tonic)))
    beats = position + ending_beats
    return Form(beats_per_bar, intro_bars, tuple(phrases), position, beats, _merge(chords), tuple(melody))


def _accent(beat: float, tune: Tune) -> float:
    if beat % tune.beats_per_bar < 1e-6:
        return 1.0
    return 0.5 if beat % 1 < 1e-6 else 0.25


def _first_like(tune: Tune, index: int) -> int:
    phrase = tune.phrases[index]
    return next(place for place, other in enumerate(tune.phrases) if other == phrase)


def _fit_phrases(tune: Tune, bar_seconds: float, extra_bars: float) -> list[int] | None:
    """Indices of the phrases to play: the whole tune as often as it fits, or its beginning and end."""
    everything = list(range(len(tune.phrases)))

    def seconds(order: list[int]) -> float:
        return (extra_bars + sum(tune.phrases[index].bars for index in order)) * bar_seconds

    candidates = [everything * times + everything[-tail:] for times in range(1, 8) for tail in everything[1:]]
    candidates += [everything * times for times in range(1, 8)]
    candidates += [everything[:head] + everything[-1:] for head in range(len(everything) - 1, -1, -1)]
    candidates += [everything[:head] + everything[-2:] for head in range(len(everything) - 2, -1, -1)]
    fitting = [order for order in candidates if SHORTEST <= seconds(order) <= LONGEST]
    whole = [order for order in fitting if order[: len(everything)] == everything]
    complete = [order for order in whole if len(order) % len(everything) == 0]
    best = complete or whole or fitting
    return max(best, key=len) if best else None
