"""Scores from files: a list of beats, as beat trackers write it, or a MIDI file."""

import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from musiclm.corpus.theory import QUALITIES
from musiclm.extras import check_package
from musiclm.files import shown
from musiclm.score.notation import read_key
from musiclm.score.score import MOST_BEATS, NO_CHORD, Beat, Chord, From, NoChord, Score

BEAT_LISTS = (".beats", ".txt", ".tsv", ".csv")
MIDI = (".mid", ".midi")
USUAL_METER = 4  # where a list of beats does not say which are downbeats
LONGEST_BEAT, SHORTEST_BEAT = 3.0, 0.15  # seconds
# Chords that are told apart in notes, the plain ones first: of two that fit alike, the plainer is meant.
TOLD_APART = ("major", "minor", "dominant7", "minor7", "major7", "diminished", "suspended4")


def is_score_file(path: Path) -> bool:
    """Whether a file is a list of beats or MIDI, by its name."""
    return path.suffix.lower() in (*BEAT_LISTS, *MIDI)


def read_score(path: Path) -> Score:
    """The score of a file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no score, or a package is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"expected a list of beats or a MIDI file, found nothing at {path}")
    return read_midi(path) if path.suffix.lower() in MIDI else read_beats(path)


def read_beats(path: Path) -> Score:
    """The beats of a text file: a line for each, its time in seconds and, after it, its number in the bar.

    Raises:
        ValueError: it is no such list.
    """
    example = 'lines such as "12.48 1": seconds, and the beat\'s number in its bar'
    rows: list[list[float]] = []
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        for line in lines:
            words = line.split("#")[0].replace(",", " ").replace(";", " ").split()
            if words:
                rows.append([float(word) for word in words[:2]])
    except (UnicodeDecodeError, ValueError):
        raise ValueError(f"expected {example}, in {shown(path)}") from None
    times = [row[0] for row in rows]
    if len(times) < 2 or not all(math.isfinite(time) and time >= 0 for time in times):
        raise ValueError(f"expected two beats or more, {example}, in {shown(path)}")
    for before, after in pairwise(times):
        if not SHORTEST_BEAT <= after - before <= LONGEST_BEAT:
            raise ValueError(
                f"expected beats in order, {SHORTEST_BEAT:g} to {LONGEST_BEAT:g} s apart, got one at "
                f"{before:g} s and one at {after:g} s in {shown(path)}"
            )
    if all(len(row) == 2 for row in rows):
        numbers = [row[1] for row in rows]
    else:
        numbers = [1.0 + n % USUAL_METER for n in range(len(rows))]
    if not all(number in range(1, MOST_BEATS + 1) for number in numbers):
        raise ValueError(f"expected numbers of beats from 1 to {MOST_BEATS} in {shown(path)}")
    return Score(times[-1], in_bars(times, [number == 1 for number in numbers]))


def read_midi(path: Path) -> Score:
    """The beats, the key signatures, the chords and the drums of a MIDI file.

    Raises:
        ValueError: it is no MIDI file, or pretty_midi is not installed.
    """
    check_package("pretty_midi")
    import pretty_midi

    try:
        midi = pretty_midi.PrettyMIDI(str(path))
        seconds = float(midi.get_end_time())
        times, downbeats = midi.get_beats(), midi.get_downbeats()
    except Exception as error:  # mido raises whatever its parsers do
        raise ValueError(f"expected a MIDI file at {shown(path)}: {' '.join(str(error).split())}") from None
    if len(times) < 2 or not seconds:
        raise ValueError(f"expected a MIDI file with notes at {shown(path)}, it has none")
    first = np.abs(times[:, None] - downbeats[None]).min(axis=1) < 1e-3
    notes = [note for track in midi.instruments if not track.is_drum for note in track.notes]
    drums = any(track.is_drum and track.notes for track in midi.instruments)
    keys = tuple(
        From(float(change.time), read_key(_plain(pretty_midi.key_number_to_key_name(change.key_number))))
        for change in midi.key_signature_changes
    )
    beats = in_bars(times.tolist(), first.tolist())
    return Score(seconds, beats, keys, chords_of(notes, times), (From(0.0, drums),))


def _plain(name: str) -> str:
    """ "F# minor" of "F# minor" or "Db Major"."""
    return name.split("/")[0].strip()


def in_bars(times: Sequence[float], downbeats: Sequence[bool]) -> tuple[Beat, ...]:
    """Beats at these times, of which some are downbeats. A bar is as long as it is to the next one.

    What comes before the first downbeat leads up to it; a bar that is not ended is as long as the one before.
    """
    places = [index for index, is_first in enumerate(downbeats) if is_first] or [0]
    meter = places[1] - places[0] if len(places) > 1 else USUAL_METER
    beats = [Beat(times[n], (n - places[0]) % meter, meter) for n in range(places[0])]
    for start, end in zip(places, [*places[1:], None], strict=True):
        if end is not None:
            meter = min(end - start, MOST_BEATS)
        last = len(times) if end is None else end
        beats += [Beat(times[start + n], n % meter, meter) for n in range(last - start)]
    return tuple(beats)


def chords_of(notes: Sequence[Any], times: np.ndarray) -> tuple[From[Chord | NoChord], ...]:
    """The chord of each beat, by most of what sounds in it.

    Args:
        notes: with start and end (s), pitch and velocity.
        times: of the beats, in seconds.
    """
    ends = np.append(times[1:], 2 * times[-1] - times[-2])
    strengths = np.zeros((len(times), 12))
    bass = np.full(len(times), 128)
    for note in notes:
        overlap = np.minimum(ends, note.end) - np.maximum(times, note.start)  # [beats]
        sounds = overlap > 0
        strengths[sounds, note.pitch % 12] += overlap[sounds] * note.velocity
        held = overlap > 0.3 * (ends - times)
        bass[held] = np.minimum(bass[held], note.pitch)
    found: list[From[Chord | NoChord]] = []
    for time, strength, low in zip(times, strengths, bass, strict=True):
        chord = _chord(strength, int(low))
        if not found or found[-1].what != chord:
            found.append(From(float(time), chord))
    return tuple(found)


def _chord(strength: np.ndarray, bass: int) -> Chord | NoChord:
    """The chord whose tones hold most of the strength [12], and the other classes least of it."""
    total = strength.sum()
    if not total:
        return NO_CHORD
    share = strength / total
    best, most = Chord(0, "major"), -math.inf
    for order, quality in enumerate(TOLD_APART):
        for root in range(12):
            tones = [(root + interval) % 12 for interval in QUALITIES[quality]]
            inside = share[tones]
            # Each tone of a larger chord has to be heard; the bass tends to have the root.
            fits = inside.sum() + 0.3 * float((inside > 0.05).mean()) + 0.1 * (bass % 12 == root)
            if fits - 0.03 * order > most:
                best, most = Chord(root, quality), fits - 0.03 * order
    return best
