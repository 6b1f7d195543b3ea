"""A plan comes back from its file, has a place in time, and takes a user's values; bad files are refused."""

import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from musiclm.score.controls import PACES, Controls
from musiclm.score.notation import read_bars, read_key
from musiclm.score.plan import Plan, Section, as_text, plan_of, read_plan, write_plan
from musiclm.score.score import Beat, what_at
from tests.score.drawn import PLANS

SAME_FOLDER = settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60
)
TUNE = Plan((Section(read_bars("Am | F | C G | E"), 120.0, 4, read_key("A minor"), drums=True, name="A"),))


@SAME_FOLDER
@given(plan=PLANS)
def test_a_plan_is_read_as_it_was_written(plan: Plan, tmp_path: Path) -> None:
    write_plan(plan, tmp_path / "plan.yaml")
    assert read_plan(tmp_path / "plan.yaml") == plan


def test_a_plan_is_written_as_a_musician_would() -> None:
    plan = Plan((*TUNE.sections, replace(TUNE.sections[0], bars=read_bars("Dm"), name="B")))
    assert as_text(plan) == (
        "bpm: 120.0\nmeter: 4/4\nkey: A minor\ndrums: true\nsections:\n"
        "- name: A\n  chords: Am | F | C G | E\n- name: B\n  chords: Dm\n"
    )


@pytest.mark.parametrize(
    "text",
    [
        "", "42", "just words", "[]", "sections: []", "sections: {}", "sections: null", "sections: [1]",
        "sections: [[]]",
        "- {tempo: 90}", "speed: 3", "{bpm: fast}", "bpm: true", "bpm: [1]", "bpm: .nan", "bpm: .inf",
        "bpm: -3",
        "bpm: 1e9", "bpm: 1" + "0" * 400, "bpm: 1" + "0" * 5000, "meter: 4/0", "meter: 3.5", "meter: null",
        "meter: [4]", "meter: 99", "key: H", "key: {a: b}", "key: off", "drums: 3", "drums: loud",
        "chords: ''",
        "chords: [Am, F]", "chords: Am | | F", "chords: null", "chords: 5", "bars: 0", "bars: -1",
        "bars: 1.5",
        "bars: 999999999", "bars: true", "{meter: 3/4, chords: C D E F |}", "a: b: c", "bpm: 2020-99-99",
        "!!int ''",
        "!!python/object:os.system x", "!!timestamp x", "{[1]: 2}", "&a [*a]", "? {a: b}\n: c", "[" * 1500,
        "- {}\n" * 1001, "\t", "bpm: 90\nbpm 4", "1: 2", "null: 3", "%YAML 9.9\n---\nbpm: 90", "bpm: \x07",
    ],
)  # fmt: skip
def test_what_is_no_plan_is_refused_in_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"\Aexpected a plan [^\n]+\Z") as refused:
        read_plan(tmp_path / "plan.yaml")
    assert len(str(refused.value)) < 1000 + len(str(tmp_path))


def test_lists_of_lists_of_lists_are_refused_at_once(tmp_path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]
    (tmp_path / "plan.yaml").write_text("\n".join([*lines, "sections: [*a8]"]))
    with pytest.raises(ValueError, match="expected a plan"):
        read_plan(tmp_path / "plan.yaml")


@SAME_FOLDER
@given(content=st.binary(max_size=60))
def test_any_file_is_read_or_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_bytes(content)
    try:
        read_plan(tmp_path / "plan.yaml")
    except ValueError as error:
        assert re.fullmatch(r"expected a plan [^\n]+", str(error))  # noqa: PT017


def test_a_plan_that_is_not_there_is_said_to_be_missing(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yaml", tmp_path):
        with pytest.raises(
            FileNotFoundError, match=r"expected a plan as a YAML file, found nothing at [^\n]+"
        ):
            read_plan(path)


def test_what_stands_at_the_top_holds_for_every_section(tmp_path: Path) -> None:
    (tmp_path / "plan.yaml").write_text(
        "bpm: 90\nkey: D minor\nsections:\n- {name: , bars: 2}\n- {bpm: 120, chords: Dm %, drums: yes}\n"
    )
    first, second = read_plan(tmp_path / "plan.yaml").sections
    assert first == Section(((), ()), 90.0, 4, read_key("D minor"))
    assert second == Section(read_bars("Dm | Dm"), 120.0, 4, read_key("D minor"), drums=True)


def test_bars_follow_each_other_and_begin_again() -> None:
    score = TUNE.score(10.0)
    assert score.beats[:5] == tuple(Beat(n / 2, n % 4, 4) for n in range(5))
    assert score.beats[-1].at >= 10.0
    sounding = [what_at(score.chords, at) for at in (0.1, 2.1, 4.1, 5.1, 6.1, 8.1)]
    assert sounding == [bar[0] for bar in read_bars("Am | F | C | G | E | Am")]
    assert what_at(score.keys, 9.0) == read_key("A minor")
    assert what_at(score.drums, 9.0) is True


@given(PLANS, st.floats(-3, 9), st.floats(0.5, 20))
@settings(max_examples=60, deadline=None)
def test_the_bars_of_a_plan_lie_around_its_first_downbeat(plan: Plan, first: float, seconds: float) -> None:
    beats = plan.score(seconds, first=first).beats
    times = [beat.at for beat in beats]
    assert times == sorted(times)
    assert beats[0].place == 0
    assert times[0] <= max(0.0, first)
    assert times[-1] >= seconds
    if first < seconds:
        assert min(abs(beat.at - first) for beat in beats if beat.place == 0) < 1e-6
    for before, after in pairwise(beats):
        assert after.place == (before.place + 1) % before.meter


def test_chords_fall_on_beats() -> None:
    waltz = Plan((Section(read_bars("C G |"), 60.0, 3),))
    assert [each.at for each in waltz.score(3.0).chords] == [0.0, 2.0]


def test_values_of_a_user_take_the_place_of_a_plan_s() -> None:
    key = read_key("E minor")
    moved = TUNE.under(Controls(90.0, 3, key, drums=False))
    assert moved.sections == (replace(TUNE.sections[0], bpm=90.0, meter=3, key=key, drums=False),)
    six = read_bars("C D E F G A |")
    assert TUNE.under(Controls(meter=6, chords=six)).sections[0].bars == six
    assert TUNE.under(Controls(drums=False)).sections[0].drums is False


def test_values_alone_are_a_plan() -> None:
    six = read_bars("C D E F G A |")
    assert plan_of(Controls(meter=6, chords=six)).sections == (Section(six, 110.0, 6),)
    assert plan_of(Controls()).sections[0].key is None
    for pace, (slowest, fastest) in PACES.items():
        assert slowest < plan_of(Controls(pace=pace)).sections[0].bpm < fastest
