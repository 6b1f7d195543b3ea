"""A plan comes back from its tokens: to the half bar, its tempo to 2 %."""

import math

import pytest
from hypothesis import given, settings

from musiclm.score.notation import read_bars, read_key
from musiclm.score.plan import Plan, Section
from musiclm.score.plan_tokens import (
    END,
    FIRST,
    HEADER,
    HOLD,
    MOST_BARS,
    START,
    VOCABULARY,
    bin_of,
    bpm_of,
    plan_of_tokens,
    tokens_of,
)
from tests.score.drawn import PLANS


@given(PLANS)
@settings(max_examples=100, deadline=None)
def test_a_plan_comes_back_from_its_tokens(plan: Plan) -> None:
    tokens = tokens_of(plan)
    assert tokens[-1] == END
    assert all(0 <= token < VOCABULARY for token in tokens)
    back = plan_of_tokens(tokens)
    first, found = plan.sections[0], back.sections[0]
    assert abs(math.log(found.bpm / first.bpm)) < math.log(1.02)
    assert (found.meter, found.key, found.drums) == (first.meter, first.key, first.drums)
    bars = [bar for section in plan.sections for bar in section.bars]
    halves = [tuple(dict.fromkeys((bar[0], bar[len(bar) // 2]))) if bar else () for bar in bars]
    assert [bar for section in back.sections for bar in section.bars] == halves
    assert tokens_of(back)[1:] == tokens[1:]  # of its tempo, the nearest whole number of bpm


def test_kinds_of_tokens_do_not_overlap() -> None:
    plan = Plan((Section(read_bars("B"), 240.0, 16, read_key("B minor"), drums=None),))
    header = tokens_of(plan)[: len(HEADER)]
    bounds = [*FIRST.values(), VOCABULARY]
    for token, first, after in zip(header, bounds, bounds[1:], strict=False):
        assert first <= token < after
    assert START == VOCABULARY - 1 > HOLD


def test_a_chord_counts_from_the_tonic() -> None:
    first = tokens_of(Plan((Section(read_bars("C F G | C"), key=read_key("C")),)))
    other = tokens_of(Plan((Section(read_bars("D G A | D"), key=read_key("D")),)))
    assert first[len(HEADER) :] == other[len(HEADER) :]


def test_a_long_plan_is_known_by_its_beginning() -> None:
    tokens = tokens_of(Plan((Section(read_bars("C G") * 50),)))
    assert len(tokens) == len(HEADER) + 2 * MOST_BARS + 1


@pytest.mark.parametrize("bpm", [1.0, 40.0, 61.5, 120.0, 240.0, 900.0])
def test_every_tempo_has_a_bin(bpm: float) -> None:
    near = min(max(bpm, 40.0), 240.0)
    assert abs(bpm_of(bin_of(bpm)) / near - 1) < 0.02


def test_phrases_that_are_alike_have_one_name() -> None:
    plan = plan_of_tokens(tokens_of(Plan((Section(read_bars("Am F C G Dm G C C Am F C G")),))))
    assert [section.name for section in plan.sections] == ["A", "B", "A"]
