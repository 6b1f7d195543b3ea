"""From what a listener's network says of every moment to a score: what holds for a while and is clear."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np

from musiclm.score.beat_tracking import Track, track_beats
from musiclm.score.codes import CHORD_QUALITIES
from musiclm.score.score import MODES, NO_CHORD, Beat, Chord, From, Key, NoChord, Score
from musiclm.score.smoothing import runs, steady

BEAT_RATE, HARMONY_RATE = 50.0, 12.5  # frames per second of rhythm and of harmony
TRACKING = 2  # frames that a beat is looked for at, for each that the network hears
STRETCH, OVERLAP = 300.0, 20.0  # seconds of long recordings whose beats are looked for at once

# Below these, what is heard is not said: probabilities, and of beats the confidence of a `Track`.
BEATS_HEARD = 0.08  # noise and held chords have less than 0.01, faint beats 0.2
CHORD_HEARD = 0.4
KEY_HEARD = 0.4
DRUMS_HEARD = 0.6
SILENT = 1e-3  # of the loudest moment: where it is this quiet, no chord or key is said
BRIDGED = 16  # beats in a row that may be unclear, between clear ones
FEWEST = 4  # beats that are taken as such

# What a change costs, in nats: a chord changes with a beat, if there are any
CHORD_CHANGE, CHORD_CHANGE_AT_BEAT = 12.0, 3.0
KEY_CHANGE, DRUMS_CHANGE = 100.0, 60.0


@dataclass(frozen=True)
class Heard:
    """What the network says, R frames of rhythm and T of harmony.

    Args:
        beat: [R] probability of a beat at the frame.
        downbeat: [R] probability of a downbeat, at most that of a beat.
        drums: [R] probability that they play.
        chord: [12 * qualities + 1, T] log-probabilities, by root; the last is that of no chord.
        key: [24, T] log-probabilities, by mode and tonic.
    """

    beat: np.ndarray
    downbeat: np.ndarray
    drums: np.ndarray
    chord: np.ndarray
    key: np.ndarray

    @classmethod
    def joined(cls, parts: Sequence["Heard"]) -> "Heard":
        """One after the other."""
        names = [each.name for each in fields(cls)]
        return cls(*(np.concatenate([getattr(part, name) for part in parts], axis=-1) for name in names))


def score_heard(heard: Heard, loudness: np.ndarray, seconds: float) -> Score:
    """The score of what was heard of a recording.

    Args:
        heard: by the network.
        loudness: [T] root mean square of each frame of harmony.
        seconds: its length.
    """
    beats = beats_heard(heard.beat, heard.downbeat, seconds)
    sounds = loudness > SILENT * loudness.max()
    penalty = np.full(heard.chord.shape[1], CHORD_CHANGE)
    at = np.round(np.array([beat.at for beat in beats]) * HARMONY_RATE).astype(int)
    penalty[at[(at >= 0) & (at < len(penalty))]] = CHORD_CHANGE_AT_BEAT
    drums = np.log(np.clip(np.stack([1 - heard.drums, heard.drums]), 1e-4, None))
    return Score(
        seconds,
        beats,
        _spans(heard.key, KEY_CHANGE, HARMONY_RATE, KEY_HEARD, _KEYS, sounds),
        _spans(heard.chord, penalty, HARMONY_RATE, CHORD_HEARD, _CHORDS, sounds, beats),
        _spans(drums, DRUMS_CHANGE, BEAT_RATE, DRUMS_HEARD, (False, True), None),
    )


def beats_heard(beat: np.ndarray, downbeat: np.ndarray, seconds: float) -> tuple[Beat, ...]:
    """The beats of activations [R]: those of the longest stretch in which they are clear."""
    times = np.arange(len(beat) * TRACKING) / TRACKING
    fine, fine_down = (np.interp(times, np.arange(len(each)), each) for each in (beat, downbeat))
    found: list[tuple[Beat, bool]] = []
    rate = BEAT_RATE * TRACKING
    stretch, overlap = round(STRETCH * rate), round(OVERLAP * rate)
    for start in range(0, len(fine), stretch):
        first, last = max(start - overlap, 0), start + stretch + overlap
        track = track_beats(fine[first:last], fine_down[first:last], rate)
        found += _of_stretch(track, first / rate, start / rate, (start + stretch) / rate, found)
    clear = [at for at, (_, is_clear) in enumerate(found) if is_clear]
    if not clear:
        return ()
    breaks = [n for n, (one, after) in enumerate(pairwise(clear), 1) if after - one > BRIDGED]
    bounds = [0, *breaks, len(clear)]
    first, last = max(
        ((clear[begin], clear[end - 1]) for begin, end in pairwise(bounds)),
        key=lambda ends: ends[1] - ends[0],
    )
    beats = tuple(beat for beat, _ in found[first : last + 1] if beat.at <= seconds)
    return beats if len(beats) >= FEWEST else ()


def _of_stretch(
    track: Track, offset: float, start: float, end: float, before: Sequence[tuple[Beat, bool]]
) -> list[tuple[Beat, bool]]:
    """The beats of one stretch from `start` to `end` after those before it, and whether they are clear."""
    half = np.median(np.diff(track.times)) / 2 if len(track.times) > 1 else 0.0
    begin = max(start, before[-1][0].at + half) if before else start
    return [
        (Beat(max(float(at) + offset, 0.0), int(place), track.meter), bool(confidence >= BEATS_HEARD))
        for at, place, confidence in zip(track.times, track.places, track.confidences, strict=True)
        if begin <= at + offset < end
    ]


_KEYS = tuple(Key(tonic, mode) for mode in MODES for tonic in range(12))
_CHORDS: tuple[Chord | NoChord, ...] = (
    *(Chord(root, quality) for root in range(12) for quality in CHORD_QUALITIES),
    NO_CHORD,
)


def _spans(
    log_probabilities: np.ndarray,
    penalty: np.ndarray | float,
    rate: float,
    threshold: float,
    names: Sequence[object],
    sounds: np.ndarray | None,
    beats: Sequence[Beat] = (),
) -> tuple[From, ...]:
    """What is so from when on; nothing where it stays below the threshold, or nothing sounds.

    Changes within a frame of a beat are put to the beat.
    """
    states = steady(log_probabilities, penalty)
    if sounds is not None:
        states = np.where(sounds, states, -1)
    beat_times = np.array([beat.at for beat in beats])
    spans: list[From] = []
    for first, last in runs(states):
        state = int(states[first])
        share = float(np.exp(log_probabilities[state, first:last]).mean()) if state >= 0 else 0.0
        what = names[state] if share >= threshold else None
        if not spans or spans[-1].what != what:
            spans.append(From(_at_beat(first / rate, beat_times, 1 / rate), what))
    return tuple(spans) if any(span.what is not None for span in spans) else ()


def _at_beat(at: float, beats: np.ndarray, within: float) -> float:
    if at == 0.0 or not len(beats):
        return at
    nearest = float(beats[np.abs(beats - at).argmin()])
    return nearest if abs(nearest - at) <= within else at
