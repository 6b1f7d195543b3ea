"""The pictures of evaluations: figures side by side, each with its interval."""

import math
from collections.abc import Mapping
from typing import Protocol

from musiclm.plots import Panel, ticks


class Interval(Protocol):
    """A figure and its 95 % interval; NaN is what could not be measured."""

    @property
    def value(self) -> float: ...

    @property
    def low(self) -> float: ...

    @property
    def high(self) -> float: ...


def intervals(title: str, figures: Mapping[str, Interval]) -> Panel | None:
    """A panel of figures by their names, their intervals as lines, 0 in sight; None where all are NaN."""
    ends = [end for each in figures.values() for end in (each.value, each.low, each.high)]
    known = [end for end in ends if math.isfinite(end)]
    if not known:
        return None
    low, high = min(0.0, *known), max(0.0, *known)
    room = 0.08 * (high - low) or 1.0
    low, high = low - room, high + room
    panel = Panel(title, (-0.5, len(figures) - 0.5), (low, high))
    step = ticks(high - low)[1]
    marks = [index * step for index in range(math.ceil(low / step), math.floor(high / step) + 1)]
    panel.y_axis([(mark, f"{mark:g}") for mark in marks])
    panel.x_axis([(place, name) for place, name in enumerate(figures)], "")
    for place, each in enumerate(figures.values()):
        css = "second" if place % 2 else "first"
        if math.isfinite(each.low):
            panel.line([(place, each.low), (place, each.high)], f"line {css}")
        if math.isfinite(each.value):
            panel.dots([(place, each.value)], f"dots {css}")
    return panel
