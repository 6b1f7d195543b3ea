"""From time to bars: the plan that a score is of."""

from collections import Counter
from statistics import linear_regression

from musiclm.score.controls import FASTEST, SLOWEST
from musiclm.score.notation import Bar
from musiclm.score.plan import Plan, Section
from musiclm.score.score import Beat, Chord, NoChord, Score, what_at

FEWEST = 2  # beats that tell a tempo
BESIDE = 0.02  # share by which a tempo that is read from frames may lie beyond the slowest or the fastest


def plan_of_score(score: Score) -> Plan | None:
    """The plan of a score, in one section; None where its beat is not known, or is none of a plan.

    A bar's chords are those that sound in the middles of its beats. Tempo, key and drums are the usual ones
    of the piece; a bar that is begun or ended in the middle is left out.
    """
    beats = score.beats
    meters = Counter(beat.meter for beat in beats)
    if len(beats) < FEWEST:
        return None
    meter = meters.most_common(1)[0][0]
    # The line through the beats tells the tempo far better than any step between two of them does.
    period = linear_regression(range(len(beats)), [beat.at for beat in beats]).slope
    bars = [
        _chords_of(beats[first : first + meter], score, period)
        for first in range(len(beats) - meter + 1)
        if [beat.place for beat in beats[first : first + meter]] == list(range(meter))
    ]
    read = 60.0 / max(period, 1e-9)
    bpm = min(max(read, SLOWEST), FASTEST)
    if not bars or meter < 2 or abs(read / bpm - 1) > BESIDE:
        return None
    keys = Counter(span.what for span in score.keys if span.what is not None)
    drums = Counter(span.what for span in score.drums if span.what is not None)
    return Plan(
        (
            Section(
                tuple(bars),
                bpm,
                meter,
                keys.most_common(1)[0][0] if keys else None,
                drums.most_common(1)[0][0] if drums else None,
            ),
        )
    )


def _chords_of(beats: tuple[Beat, ...], score: Score, period: float) -> Bar:
    """The chords that share a bar evenly: one, or one for each half, or one for each beat."""
    sounding: list[Chord | NoChord | None] = [what_at(score.chords, beat.at + period / 2) for beat in beats]
    known = [chord for chord in sounding if chord is not None]
    if len(known) < len(sounding):
        return ()
    half = round(len(known) / 2)
    if len(set(known)) == 1:
        return (known[0],)
    if len(set(known[:half])) == len(set(known[half:])) == 1:
        return (known[0], known[-1])
    return tuple(known)
