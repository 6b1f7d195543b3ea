"""Scores, plans and their parts, drawn at random for property tests."""

from hypothesis import strategies as st

from musiclm.score.codes import CHORD_QUALITIES
from musiclm.score.notation import Bar
from musiclm.score.plan import Plan, Section
from musiclm.score.score import MODES, NO_CHORD, Chord, Key

KEYS = st.builds(Key, st.integers(0, 11), st.sampled_from(MODES))
CHORDS = st.builds(Chord, st.integers(0, 11), st.sampled_from(CHORD_QUALITIES))
TEMPI = st.floats(40, 240).map(lambda bpm: round(bpm, 2))


def filled_bars(meter: int) -> st.SearchStrategy[Bar]:
    """Bars of one chord, of one a half, of one a beat, or of any number that has a beat for each."""
    return st.lists(CHORDS | st.just(NO_CHORD), min_size=1, max_size=meter).map(tuple)


@st.composite
def sections(draw: st.DrawFn) -> Section:
    meter = draw(st.integers(2, 16))
    bars = draw(st.lists(filled_bars(meter), min_size=1, max_size=5).map(tuple) | st.just(((),) * 3))
    if draw(st.booleans()) and len(bars) > 1:  # one of which nothing is known
        bars = (*bars[:-1], ())
    key, drums = draw(st.none() | KEYS), draw(st.none() | st.booleans())
    return Section(
        bars, draw(TEMPI), meter, key, drums, draw(st.sampled_from(["", "A", "chorus: 2", "null"]))
    )


PLANS = st.lists(sections(), min_size=1, max_size=4).map(lambda each: Plan(tuple(each)))
