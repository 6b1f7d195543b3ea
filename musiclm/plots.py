"""Charts as SVG without anything to install: axes, lines and dots on a `Panel` of one size.

Numbers go in and markup comes out. Two panels stand side by side on a screen, and one fills a phone. Colours
are CSS classes, which whoever shows the chart defines.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

Points = Sequence[tuple[float, float]]

WIDTH, HEIGHT = 420, 280
LEFT, RIGHT, TOP, BOTTOM = 56, 14, 34, 58
GAP = 20  # px between panels of a sheet
STYLE = (
    ":root{color-scheme:light dark;--page:#fff;--ink:#1d1f23;--soft:#5b606a;--grid:#eceae4;"
    "--one:#1f5fbf;--two:#b4460b}"
    "@media(prefers-color-scheme:dark){:root{--page:#15171b;--ink:#e8e6e1;--soft:#a2a7b0;--grid:#2a2e35;"
    "--one:#7fb2f5;--two:#f2925a}}"
    "text{font:12px system-ui,sans-serif;fill:var(--soft)}"
    ".title{font-size:13px;font-weight:600;fill:var(--ink)}"
    ".axis{stroke:var(--soft);fill:none}.grid{stroke:var(--grid);fill:none}.dashed{stroke-dasharray:5 4}"
    ".line{stroke:var(--one);stroke-width:2;fill:none}"
    ".dots{stroke:var(--one);stroke-width:6;stroke-linecap:round}"
    ".first.dots,.second.dots{stroke-width:4;stroke-opacity:.5}.second{stroke:var(--two)}"
    ".threshold{stroke:var(--ink);stroke-dasharray:3 3;fill:none}"
)
TICK_GAP = 26  # px, below which two labels of the horizontal axis run into each other


@dataclass(frozen=True)
class Scale:
    """Maps values between `low` and `high` to pixels between `start` and `stop`, by logarithm where `log`."""

    low: float
    high: float
    start: float
    stop: float
    log: bool = False

    def __call__(self, value: float) -> float:
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log10(low), math.log10(high), math.log10(value)
        return self.start + (value - low) / (high - low) * (self.stop - self.start)


class Panel:
    """One pair of axes with a title, to which marks are added; `svg` closes it."""

    def __init__(
        self, title: str, x: tuple[float, float], y: tuple[float, float], *, log: bool = False
    ) -> None:
        self.x = Scale(*x, LEFT, WIDTH - RIGHT)
        self.y = Scale(*y, HEIGHT - BOTTOM, TOP, log)
        self.parts = [f'<text class="title" x="0" y="14">{escape(title)}</text>']

    def x_axis(self, ticks: Sequence[tuple[float, str]], label: str) -> None:
        """Ticks, whose labels may have two lines, and what the axis measures."""
        y = HEIGHT - BOTTOM
        self.parts.append(f'<path class="axis" d="M{LEFT} {y}H{WIDTH - RIGHT}"/>')
        last = -math.inf
        for value, name in ticks:
            x = self.x(value)
            self.parts.append(f'<path class="axis" d="M{x:.1f} {y}v4"/>')
            if x - last < TICK_GAP:
                continue
            last = x
            for line, words in enumerate(name.split("\n")):
                self.text(x, y + 17 + 14 * line, words, "middle")
        lines = 1 + max((name.count("\n") for _, name in ticks), default=0)
        self.text((LEFT + WIDTH - RIGHT) / 2, y + 24 + 14 * lines, label, "middle")

    def y_axis(self, ticks: Sequence[tuple[float, str]]) -> None:
        """Ticks with a line of the grid each."""
        for value, name in ticks:
            y = self.y(value)
            self.parts.append(f'<path class="grid" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
            self.text(LEFT - 6, y + 4, name, "end")

    def text(self, x: float, y: float, words: str, anchor: str = "start") -> None:
        self.parts.append(f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>')

    def line(self, points: Points, css: str) -> None:
        """A line through points in the units of the axes."""
        path = "L".join(f"{self.x(x):.1f} {self.y(y):.1f}" for x, y in points)
        self.parts.append(f'<path class="{css}" d="M{path}"/>')

    def dots(self, points: Points, css: str) -> None:
        """Thousands of dots as one path: a stroke of no length with round ends."""
        path = "".join(f"M{self.x(x):.1f} {self.y(y):.1f}h0" for x, y in points)
        if path:
            self.parts.append(f'<path class="{css}" d="{path}"/>')

    def threshold(self, value: float, label: str, *, row: int = 0, css: str = "threshold") -> None:
        """A vertical line with its label at the top, on the side that has room."""
        x = self.x(value)
        right = x > WIDTH * 0.7
        self.parts.append(f'<path class="{css}" d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}"/>')
        self.text(x - 4 if right else x + 4, TOP + 10 + 15 * row, label, "end" if right else "start")

    def level(self, value: float, label: str) -> None:
        """A horizontal line with its label at the right end."""
        y = self.y(value)
        self.parts.append(f'<path class="threshold" d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}"/>')
        self.text(WIDTH - RIGHT, y - 5, label, "end")

    def svg(self, label: str) -> str:
        """The whole chart; `label` says in words what it shows."""
        return (
            f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(label)}">'
            f"{''.join(self.parts)}</svg>"
        )


def ticks(high: float, wanted: int = 5) -> list[float]:
    """Round values from 0 to `high`, in steps of 1, 2 or 5 times a power of ten."""
    power = 10 ** math.floor(math.log10(high / wanted))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= high / wanted * 0.999)
    return [index * step for index in range(math.floor(high / step * 1.001) + 1)]


def sheet(panels: Sequence[Panel], label: str, *, columns: int = 3) -> str:
    """Panels in rows as an SVG file of its own, for light and for dark; `label` says what it shows."""
    moved = "".join(
        f'<g transform="translate({index % columns * (WIDTH + GAP)} {index // columns * (HEIGHT + GAP)})">'
        f"{''.join(panel.parts)}</g>"
        for index, panel in enumerate(panels)
    )
    width = min(len(panels), columns) * (WIDTH + GAP)
    height = math.ceil(len(panels) / columns) * (HEIGHT + GAP)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-10 -6 {width} {height}" width="{width}" '
        f'role="img" aria-label="{escape(label)}"><style>{STYLE}</style>'
        f'<rect x="-10" y="-6" width="{width}" height="{height}" fill="var(--page)"/>{moved}</svg>\n'
    )
