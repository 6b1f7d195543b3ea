"""A picture shows figures where they are, and nothing where there are none."""

import math
import re

from musiclm.evaluate.pictures import intervals
from musiclm.evaluate.summary import Summary
from musiclm.plots import sheet


def test_a_larger_figure_stands_higher_with_its_interval_through_it() -> None:
    panel = intervals("KAD", {"a": Summary(1.0, 0.5, 1.5, 9), "b": Summary(3.0, 2.5, 3.5, 9)})
    assert panel is not None
    svg = sheet([panel], "x")
    lines = [
        tuple(map(float, ends)) for ends in re.findall(r'line \w+" d="M[\d.]+ ([\d.]+)L[\d.]+ ([\d.]+)', svg)
    ]
    dots = [float(y) for y in re.findall(r'dots \w+" d="M[\d.]+ ([\d.]+)h0', svg)]
    assert len(lines) == len(dots) == 2
    assert dots[1] < dots[0]  # down is more
    assert all(ends[1] < dot < ends[0] for ends, dot in zip(lines, dots, strict=True))


def test_what_was_not_measured_is_not_drawn() -> None:
    nothing = Summary(math.nan, math.nan, math.nan, 0)
    assert intervals("KAD", {"a": nothing}) is None
    panel = intervals("KAD", {"a": nothing, "b": Summary(2.0, math.nan, math.nan, 3)})
    assert panel is not None
    assert "nan" not in sheet([panel], "x")
    assert "<svg" in sheet([], "nothing")
