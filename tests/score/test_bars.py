"""From time back to bars: a plan of one section comes back from its score."""

from dataclasses import replace

from hypothesis import example, given, settings
from hypothesis import strategies as st

from musiclm.score.bars import plan_of_score
from musiclm.score.codes import codes_of, score_of
from musiclm.score.notation import read_bars, read_key
from musiclm.score.plan import Plan, Section
from musiclm.score.score import Beat, Score, steady_beats
from tests.score.drawn import sections


@given(sections(), st.booleans())
@example(Section(((), (), ()), 240.0, 9), True)  # whose frames read as somewhat faster than the fastest
@settings(max_examples=60, deadline=None)
def test_a_section_comes_back_from_its_score_and_its_codes(section: Section, coded: bool) -> None:
    kept = tuple(bar[:1] if len(bar) != 2 or bar[0] == bar[1] else bar for bar in section.bars)
    section = replace(section, bars=kept, name="")
    plan = Plan((section,))
    score = plan.score(plan.seconds - 0.04 / section.bpm)
    found = plan_of_score(score_of(codes_of(score)) if coded else score)
    assert found is not None
    (back,) = found.sections
    assert back.bars == section.bars
    assert (back.meter, back.key, back.drums) == (section.meter, section.key, section.drums)
    off = 0.05 / section.bar_seconds if coded else 1e-6  # a frame in a bar
    assert abs(back.bpm / section.bpm - 1) < off


def test_a_chord_for_each_beat_is_kept() -> None:
    bars = read_bars("C D E | C D C")
    plan = Plan((Section(bars, 100.0, 3),))
    assert plan_of_score(plan.score(plan.seconds - 0.01)).sections[0].bars == bars  # type: ignore[union-attr]


def test_bars_that_are_begun_or_ended_in_the_middle_are_left_out() -> None:
    score = Score(9.0, steady_beats(9.0, 60.0, 4))
    cut = replace(score, beats=score.beats[2:])
    assert len(plan_of_score(cut).sections[0].bars) == 1  # type: ignore[union-attr]


def test_what_no_plan_can_be_is_none() -> None:
    assert plan_of_score(Score(3.0)) is None
    assert plan_of_score(Score(3.0, (Beat(0.0, 0, 4),))) is None
    assert plan_of_score(Score(60.0, steady_beats(60.0, 30.0, 4))) is None  # slower than any plan
    assert plan_of_score(Score(9.0, steady_beats(9.0, 300.0, 4))) is None
    assert plan_of_score(Score(9.0, steady_beats(9.0, 100.0, 1))) is None
    assert plan_of_score(Score(9.0, steady_beats(9.0, 100.0, 4)[:3])) is None


def test_the_usual_key_and_drums_are_the_piece_s() -> None:
    plan = Plan((Section(((),) * 4, 120.0, 4, read_key("D minor"), drums=False),))
    (section,) = plan_of_score(plan.score(8.0)).sections  # type: ignore[union-attr]
    assert (section.key, section.drums, section.bars[0]) == (read_key("D minor"), False, ())
