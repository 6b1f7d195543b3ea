"""Results as JSON lines, tables of them, and bars that they must reach."""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Bar:
    """A figure and what it must reach: at least `floor`, or at most `ceiling`."""

    name: str
    value: float
    floor: float = -float("inf")
    ceiling: float = float("inf")

    @property
    def holds(self) -> bool:
        return self.floor <= self.value <= self.ceiling

    def __str__(self) -> str:
        wanted = f"at least {self.floor:g}" if self.ceiling == float("inf") else f"at most {self.ceiling:g}"
        return f"{'holds ' if self.holds else 'SHORT '} {self.name}: {self.value:.3g} ({wanted})"


def say(case: dict[str, Any]) -> dict[str, Any]:
    """Print a case as a JSON line, as soon as it is measured; returns it."""
    rounded = {
        key: float(f"{value:.4g}") if isinstance(value, float) else value for key, value in case.items()
    }
    print(json.dumps(rounded), flush=True)
    return case


def table(rows: Iterable[Sequence[str]]) -> str:
    """Rows as aligned columns, the first row the heading."""
    rows = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def judge(bars: Iterable[Bar]) -> None:
    """Print every bar; exit with 1 where one falls short."""
    bars = list(bars)
    for bar in bars:
        print(bar)
    if not all(bar.holds for bar in bars):
        sys.exit(1)
