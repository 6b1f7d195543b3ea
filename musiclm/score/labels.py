"""The score of a recording whose table has labels of its course, as the reference corpus has them, exactly.

Columns: `tempo` in bpm and `beats_per_bar`, of music that begins with a downbeat and keeps its tempo;
`chords`, a list of start (s), root and quality (a text of them has no times, and says nothing); `tonic` and
`mode`; `drums`. Any of them may be missing.
"""

from collections.abc import Mapping
from typing import Any

from musiclm.score.score import Beat, Chord, From, Key, NoChord, Score, steady_beats


def score_of_labels(labels: Mapping[str, Any], seconds: float) -> Score:
    """What the labels of a recording of so many seconds say of its course.

    Raises:
        ValueError: they say what cannot be.
    """
    beats: tuple[Beat, ...] = ()
    keys: tuple[From[Key], ...] = ()
    drums: tuple[From[bool], ...] = ()
    named = labels.get("chords")
    timed = () if isinstance(named, str) else named or ()
    try:
        if _has(labels, "tempo", "beats_per_bar"):
            beats = steady_beats(seconds, _tempo(labels["tempo"]), int(labels["beats_per_bar"]))
        if _has(labels, "tonic", "mode"):
            keys = (From(0.0, Key(labels["tonic"], labels["mode"])),)
        if _has(labels, "drums"):
            drums = (From(0.0, bool(labels["drums"])),)
        chords: tuple[From[Chord | NoChord], ...] = tuple(
            From(float(each["start"]), Chord(each["root"], each["quality"])) for each in timed
        )
    except (TypeError, KeyError, ArithmeticError) as error:
        raise ValueError(f"expected labels of beats, key, chords and drums: {error}") from None
    return Score(seconds, beats, keys, chords, drums)


def _tempo(label: Any) -> float:
    bpm = float(label)
    if not 1 <= bpm <= 1_000:  # beats that are too many to count
        raise ValueError(f"expected a tempo of 1 to 1000 bpm, got {bpm:g}")
    return bpm


def _has(labels: Mapping[str, Any], *names: str) -> bool:
    return all(labels.get(name) is not None for name in names)
