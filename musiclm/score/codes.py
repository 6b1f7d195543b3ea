"""A score as streams: codes at 25 Hz, a frame for each semantic token, ABSENT where nothing is known.

    beat   [3, T]  sixteenth of the beat, the beat's place in its bar, beats in the bar less one
    key    [2, T]  tonic, mode
    chord  [2, T]  root, quality; where no chord sounds, one more of each
    drums  [1, T]  whether they play

Each is a condition of its own, so that any of them may be given. Told its place in beat and bar, a stage
keeps time; it has nothing else to keep it by.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from musiclm.corpus.theory import QUALITIES
from musiclm.score.score import (
    LONGEST_BEAT,
    MODES,
    MOST_BEATS,
    NO_CHORD,
    Beat,
    Chord,
    From,
    Key,
    NoChord,
    Score,
    what_at,
)
from musiclm.stages.layout import ABSENT
from musiclm.stages.streams import Stream

RATE = 25.0  # Hz, that of the semantic tokens
STEPS = 16  # of a beat; one of a slow beat of a second is as long as 1.6 semantic tokens
FIRST_STEP = 2  # at most, in the first frame of a beat of 240 bpm
CHORD_QUALITIES = tuple(QUALITIES)
BEAT = Stream("beat", 3, max(STEPS, MOST_BEATS), RATE)
KEY = Stream("key", 2, 12, RATE)
CHORD = Stream("chord", 2, max(12, len(CHORD_QUALITIES)) + 1, RATE)
DRUMS = Stream("drums", 1, 2, RATE)
STREAMS = (BEAT, KEY, CHORD, DRUMS)
PART_OF = {"beat": "beats", "key": "keys", "chord": "chords", "drums": "drums"}  # of a score, by stream


def codes_of(score: Score) -> dict[str, Tensor]:
    """The streams of a score from 0 to its end, [levels, T] int64 each, ABSENT where it says nothing."""
    frames = math.ceil(score.seconds * RATE - 1e-6)
    times = [(frame + 0.5) / RATE for frame in range(frames)]  # a token's middle stands for it
    rows: dict[str, list[list[int]]] = {
        "beat": [_beat_codes(score.beats, time) for time in times],
        "key": [_key_codes(what_at(score.keys, time)) for time in times],
        "chord": [_chord_codes(what_at(score.chords, time)) for time in times],
        "drums": [_drum_codes(what_at(score.drums, time)) for time in times],
    }
    return {
        stream.name: torch.tensor(rows[stream.name], dtype=torch.int64).view(frames, stream.levels).T
        for stream in STREAMS
    }


def score_of(codes: Mapping[str, Tensor]) -> Score:
    """The score that codes [levels, T] of some of the streams are of, its times to a frame of 40 ms."""
    frames = max((each.shape[1] for each in codes.values()), default=0)
    empty = torch.empty(0, 0, dtype=torch.int64)
    beat, key, chord, drums = (codes.get(stream.name, empty).T.tolist() for stream in STREAMS)
    return Score(
        frames / RATE,
        _beats_of(beat),
        _spans_of(key, lambda row: Key(row[0], MODES[row[1]])),
        _spans_of(chord, _chord_of),
        _spans_of(drums, lambda row: bool(row[0])),
    )


def _beat_codes(beats: tuple[Beat, ...], time: float) -> list[int]:
    index = bisect_right(beats, time, key=lambda beat: beat.at) - 1
    if not 0 <= index < len(beats) - 1:
        return [ABSENT] * BEAT.levels
    beat, after = beats[index], beats[index + 1]
    if after.at - beat.at > LONGEST_BEAT:
        return [ABSENT] * BEAT.levels
    share = (time - beat.at) / (after.at - beat.at)
    return [min(int(share * STEPS), STEPS - 1), beat.place, beat.meter - 1]


def _key_codes(key: Key | None) -> list[int]:
    return [ABSENT] * KEY.levels if key is None else [key.tonic, MODES.index(key.mode)]


def _chord_codes(chord: Chord | NoChord | None) -> list[int]:
    if chord is None:
        return [ABSENT] * CHORD.levels
    if chord == NO_CHORD:
        return [12, len(CHORD_QUALITIES)]
    return [chord.root, CHORD_QUALITIES.index(chord.quality)]


def _drum_codes(play: bool | None) -> list[int]:
    return [ABSENT if play is None else int(play)]


def _chord_of(row: list[int]) -> Chord | NoChord:
    return NO_CHORD if row[0] == 12 else Chord(row[0], CHORD_QUALITIES[row[1]])


def _beats_of(rows: list[list[int]]) -> tuple[Beat, ...]:
    """The beats begin where the steps do; one that is known from its middle on only is left out."""
    beats: list[Beat] = []
    for frame, row in enumerate(rows):
        before = rows[frame - 1] if frame else [ABSENT] * BEAT.levels
        goes_on = row[1:] == before[1:] and row[0] >= before[0]
        if row[0] == ABSENT or goes_on or (before[0] == ABSENT and row[0] > FIRST_STEP):
            continue
        beats.append(Beat(frame / RATE, row[1], row[2] + 1))
    return tuple(beats)


def _spans_of(rows: list[list[int]], read: Callable[[list[int]], Any]) -> tuple[From[Any], ...]:
    known = [row[0] != ABSENT for row in rows]
    first = known.index(True) if any(known) else len(rows)
    changes = [frame for frame in range(first, len(rows)) if frame == first or rows[frame] != rows[frame - 1]]
    return tuple(
        From(frame / RATE, None if rows[frame][0] == ABSENT else read(rows[frame])) for frame in changes
    )
