"""How far a score that was heard says what is true: the measures of beat tracking and chord recognition."""

from collections.abc import Sequence

import numpy as np

from musiclm.corpus.theory import QUALITIES
from musiclm.metrics.beats import f_measure
from musiclm.metrics.harmony import Interval, Label, overlap
from musiclm.score.score import NO_CHORD, Beat, Score, what_at

STEP = 0.05  # seconds between the moments that are compared


def agreement(heard: Score, true: Score) -> dict[str, float]:
    """Shares from 0 to 1, of what is true of the music; what is not known of it is not measured.

    Returns:
        beat, downbeat: F-measures within 70 ms. meter: 1 where it is right in the middle, else 0. root: share
        of the time whose chord has the right root; chord: the right triad, of the time that has a major or
        a minor one; key: the right key of 24; drums: whether they play. Nothing heard is not right.
    """
    figures = {}
    ours, inside = ([beat for beat in each.beats if beat.at < true.seconds] for each in (heard, true))
    if inside:
        figures["beat"] = f_measure(_times(ours), _times(inside))
        figures["downbeat"] = f_measure(
            _times([beat for beat in ours if beat.place == 0]),
            _times([beat for beat in inside if beat.place == 0]),
        )
        figures["meter"] = float(bool(ours) and ours[len(ours) // 2].meter == inside[len(inside) // 2].meter)
    moments = np.arange(STEP / 2, true.seconds, STEP).tolist()
    sounding = [_intervals(each, true.seconds) for each in (true, heard)]
    for name, roots_only in (("root", True), ("chord", False)):
        share = overlap(*sounding, roots_only=roots_only)
        if not np.isnan(share):
            figures[name] = share
    keys = [(what_at(heard.keys, at), what_at(true.keys, at)) for at in moments]
    drums = [(what_at(heard.drums, at), what_at(true.drums, at)) for at in moments]
    for name, pairs in (("key", keys), ("drums", drums)):
        told = [one == other for one, other in pairs if other is not None]
        if told:
            figures[name] = float(np.mean(told))
    return figures


def _times(beats: Sequence[Beat]) -> np.ndarray:
    return np.array([beat.at for beat in beats])


def _intervals(score: Score, seconds: float) -> list[tuple[Interval, Label]]:
    """The chords that are known, with their times."""
    ends = [span.at for span in score.chords[1:]] + [seconds]
    found: list[tuple[Interval, Label]] = []
    for span, end in zip(score.chords, ends, strict=False):
        first, last = max(span.at, 0.0), min(end, seconds)
        if span.what is not None and last > first:
            label = None if span.what == NO_CHORD else (span.what.root, QUALITIES[span.what.quality])
            found.append(((first, last), label))
    return found
