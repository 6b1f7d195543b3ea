"""Draws the labels of a piece, and checks labels that a caller fixed."""

import numpy as np

from musiclm.corpus.genres import GENRES, MOODS, Genre
from musiclm.corpus.instruments import BASSES, CHORD_INSTRUMENTS, COUNTERS, INSTRUMENTS, LEADS, PADS
from musiclm.corpus.piece import Attributes
from musiclm.corpus.songbook import SONGBOOK, Tune

SLOWEST, FASTEST = 60, 180  # beats per minute
_SOLO = 0.05  # share of pieces that are one unaccompanied instrument
_FROM_SONGBOOK = 0.18


def draw_attributes(generator: np.random.Generator) -> Attributes:
    """Labels of a new piece: genre first, then what goes with it, but nothing wholly told by it."""
    genre = GENRES[_pick(tuple(GENRES), generator)]
    tempo = _draw_tempo(genre, generator)
    mood = _draw_mood(genre, tempo, generator)
    mode = "major" if generator.random() < MOODS[mood].major else "minor"
    tune = _draw_tune(genre, mode, generator) if generator.random() < _FROM_SONGBOOK else ""
    tonic = int(generator.integers(12))
    lead = _pick(genre.leads if generator.random() < 0.4 else LEADS, generator)

    drums = bool(generator.random() < genre.drums)
    bass = _pick(genre.basses, generator) if generator.random() < genre.bass else ""
    if not drums and bass and generator.random() < 0.25:
        bass = ""
    accompaniment = _draw_accompaniment(genre, lead, generator)
    if not drums and generator.random() < _SOLO / 0.45:
        bass = ""
        accompaniment = (lead,) if "chords" in INSTRUMENTS[lead].roles else ()
    return Attributes(
        genre=genre.name,
        mood=mood,
        tonic=tonic,
        mode=mode,
        tempo=float(tempo),
        lead=lead,
        accompaniment=accompaniment,
        bass=bass,
        drums=drums,
        tune=tune,
    )


def check_attributes(attributes: Attributes) -> None:
    """A ValueError in one line when labels name what the composer does not know or cannot combine."""
    _known("genre", attributes.genre, tuple(GENRES))
    _known("mood", attributes.mood, tuple(MOODS))
    _known("mode", attributes.mode, ("major", "minor"))
    _known("lead", attributes.lead, LEADS)
    for index, name in enumerate(attributes.accompaniment):
        _known("accompaniment", name, CHORD_INSTRUMENTS if index == 0 else PADS + COUNTERS)
    if len(set(attributes.accompaniment)) < len(attributes.accompaniment):
        raise ValueError(f"accompaniment names an instrument twice: {', '.join(attributes.accompaniment)}")
    if attributes.bass:
        _known("bass", attributes.bass, BASSES)
    if attributes.tonic not in range(12):
        raise ValueError(f"expected a tonic of 0 (C) to 11 (B), got {attributes.tonic}")
    if not SLOWEST <= attributes.tempo <= FASTEST:
        raise ValueError(f"expected a tempo of {SLOWEST} to {FASTEST} bpm, got {attributes.tempo}")
    if attributes.tune:
        _known("tune", attributes.tune, tuple(SONGBOOK))
        tune, genre = SONGBOOK[attributes.tune], GENRES[attributes.genre]
        if not _suits(tune, genre):
            raise ValueError(
                f"{tune.title} has {tune.beats_per_bar} beats to the bar, which {genre.name} does not play; "
                "choose another genre or tune"
            )
        if tune.mode != attributes.mode:
            raise ValueError(
                f"{tune.title} is in {tune.mode}, not {attributes.mode}; change the mode or tune"
            )


def _known(what: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"unknown {what} {value!r}; known are: {', '.join(dict.fromkeys(choices))}")


def _suits(tune: Tune, genre: Genre) -> bool:
    return tune.beats_per_bar in genre.metres


def _pick(choices: tuple[str, ...], generator: np.random.Generator) -> str:
    return choices[int(generator.integers(len(choices)))]


def _draw_tempo(genre: Genre, generator: np.random.Generator) -> int:
    """Half of all tempos are uniform, so that tempo is a choice of its own and not told by genre."""
    if generator.random() < 0.5:
        return int(generator.integers(SLOWEST, FASTEST + 1))
    return round(generator.triangular(SLOWEST, genre.tempo, FASTEST))


def _draw_mood(genre: Genre, tempo: int, generator: np.random.Generator) -> str:
    weights = []
    for mood in MOODS.values():
        apart = np.log2(tempo / mood.tempo)  # in octaves: 1 is double the tempo
        weights.append(genre.moods.get(mood.name, 1.0) * (0.12 + np.exp(-((apart / 0.35) ** 2))))
    cumulative = np.cumsum(weights)
    index = int(np.searchsorted(cumulative, generator.random() * cumulative[-1]))
    return tuple(MOODS)[index]


def _draw_tune(genre: Genre, mode: str, generator: np.random.Generator) -> str:
    fitting = tuple(tune.title for tune in SONGBOOK.values() if _suits(tune, genre) and tune.mode == mode)
    return _pick(fitting, generator) if fitting else ""


def _draw_accompaniment(genre: Genre, lead: str, generator: np.random.Generator) -> tuple[str, ...]:
    usual = genre.chords if generator.random() < 0.7 else CHORD_INSTRUMENTS
    chosen = [_pick(tuple(name for name in usual if name != lead), generator)]
    if generator.random() < genre.pad:
        pads = genre.pads if generator.random() < 0.7 else PADS
        fitting = tuple(name for name in pads if name not in (lead, *chosen))
        chosen += [_pick(fitting, generator)] if fitting else []
    if generator.random() < genre.counter:
        fitting = tuple(name for name in COUNTERS if name not in (lead, *chosen))
        chosen.append(_pick(fitting, generator))
    return tuple(chosen)
