"""The ladder's figures: what of a clip is still heard at each step, with intervals, beside another clip's."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.evaluate.heard_attributes import ATTRIBUTES, Labels, spelled_out
from musiclm.evaluate.ladder_steps import MELODY
from musiclm.evaluate.listener import Heard, Listener
from musiclm.evaluate.results import Table
from musiclm.metrics import chroma
from musiclm.metrics.retrieval import others_mean
from musiclm.metrics.statistics import mean_interval
from musiclm.plots import Panel, sheet

KEPT = 0.5  # of what lies between another clip's value and the original's: below it, a column is lost
# What is asked at every step, and the title over it; the others are `ATTRIBUTES`.
TITLES = {name: ATTRIBUTES[name].title for name in ("drums", "tempo", "key", "lead", "genre")} | {
    "chroma_low": "chroma<260",
    "chroma_high": "chroma>260",
    "pulse": "pulse",
}


@dataclass(frozen=True)
class Sound:
    """What is kept of a clip at a step: what is heard, and its chroma [12, moments] in two bands."""

    heard: Heard
    chroma_low: Tensor
    chroma_high: Tensor


@dataclass(frozen=True)
class Cell:
    """A mean over clips with its 95 % interval, and the same against another clip's labels or chroma."""

    value: float
    low: float
    high: float
    other: float | None  # None where nothing is compared

    def kept(self, original: "Cell") -> float:
        """How much of what the original has over another clip is left: 1 all, 0 nothing."""
        chance = self.other or 0.0
        return (self.value - chance) / max(original.value - chance, 1e-6)


Row = dict[str, Cell]


def take_in(listener: Listener, audio: Audio) -> Sound:
    """What is heard in a clip, and its chroma."""
    waveform = audio.mono().resample(chroma.SAMPLE_RATE).waveform[0]
    low, high = chroma.chroma_by_band(waveform, tuning=0.0)
    return Sound(listener.hear(audio), low, high)


def row_of(sounds: Sequence[Sound], originals: Sequence[Sound], labels: Sequence[Labels]) -> Row:
    """A step's figures, of N clips whose originals and labels are given."""
    known = [spelled_out(each) for each in labels]
    row = {}
    for name in TITLES:
        if name == "pulse":
            row[name] = _cell(np.array([sound.heard.pulse for sound in sounds]))
        elif name not in ATTRIBUTES:
            pairs = [[getattr(sound, name) for sound in each] for each in (originals, sounds)]
            row[name] = _compared(cosines(*pairs).numpy())
        elif all(ATTRIBUTES[name].label in each for each in known):
            label, holds = ATTRIBUTES[name].label, ATTRIBUTES[name].holds
            row[name] = _compared(
                np.array([[holds(sound.heard, each[label]) for sound in sounds] for each in known], float)
            )
    return row


def cosines(guides: Sequence[Tensor], made: Sequence[Tensor]) -> Tensor:
    """Mean cosine [N, N] of the chroma [12, moments] of each guide, where it sounds, and each clip made."""
    moments = min(each.shape[1] for each in (*guides, *made))
    theirs, ours = (torch.stack([each[:, :moments] for each in side]) for side in (guides, made))
    power = theirs.square().sum(dim=1)  # [N, T]
    sounding = (power > power.amax(dim=1, keepdim=True) * 10 ** (chroma.QUIET / 10)).float()
    weights = sounding / sounding.sum(dim=1, keepdim=True).clamp(min=1.0)
    theirs = torch.nn.functional.normalize(theirs, dim=1) * weights[:, None]
    return torch.einsum("ict,jct->ij", theirs, torch.nn.functional.normalize(ours, dim=1))


def _compared(pairs: np.ndarray) -> Cell:
    """Of clips [N, N] with their own originals, on the diagonal, and with others'."""
    others = float(others_mean(torch.from_numpy(pairs)).mean()) if len(pairs) > 1 else None
    return _cell(pairs.diagonal(), others)


def _cell(values: np.ndarray, other: float | None = None) -> Cell:
    return Cell(float(values.mean()), *mean_interval(values), other)


def lost_from(rows: Mapping[str, Row]) -> dict[str, str | None]:
    """Of each column the step from which on less than half of it is left; None where it never is.

    A melody is given anew: what it brings back was lost all the same.
    """
    names = [name for name in rows if name != MELODY]
    lost: dict[str, str | None] = {}
    for column, original in rows[names[0]].items():
        gone = [rows[name][column].kept(original) < KEPT for name in names]
        first = len(gone) - next((n for n, each in enumerate(reversed(gone)) if not each), len(gone))
        lost[column] = names[first] if first < len(names) else None
    return lost


def format_table(rows: Mapping[str, Row]) -> str:
    """Three lines a step: values, intervals, and what another clip's labels or chroma give."""
    columns = list(next(iter(rows.values())))
    lines = [f"{'':<40}" + "".join(f"{TITLES[column]:>12}" for column in columns)]
    for name, row in rows.items():
        cells = [row[column] for column in columns]
        lines.append(f"{name:<40}" + "".join(f"{cell.value:12.2f}" for cell in cells))
        intervals = (f"{cell.low:.2f}-{cell.high:.2f}" for cell in cells)
        lines.append(f"{'':<40}" + "".join(f"{words:>12}" for words in intervals))
        others = ("" if cell.other is None else f"{cell.other:.2f}" for cell in cells)
        lines.append(f"{'   another clip':<40}" + "".join(f"{words:>12}" for words in others))
    return "\n".join(lines)


def table_of(rows: Mapping[str, Row]) -> Table:
    """What the model card shows of it."""
    columns = list(next(iter(rows.values())))
    cells = [[name, *(f"{row[column].value:.2f}" for column in columns)] for name, row in rows.items()]
    notes = [
        f"{TITLES[column]}: lost from this step on: {step}"
        for column, step in lost_from(rows).items()
        if step is not None
    ]
    return Table("What of a clip is still heard", ["", *(TITLES[column] for column in columns)], cells, notes)


def format_lost(rows: Mapping[str, Row]) -> str:
    """A line a column: from which step on it is lost."""
    return "\n".join(
        f"{TITLES[column]:<12}" + ("kept to the end" if step is None else f"lost from this step on: {step}")
        for column, step in lost_from(rows).items()
    )


def chart(rows: Mapping[str, Row]) -> str:
    """A panel a column: its value and interval at every step, dashed another clip's: an SVG file."""
    panels = []
    for column in next(iter(rows.values())):
        cells = [row[column] for row in rows.values()]
        panel = Panel(TITLES[column], (-0.5, len(cells) - 0.5), (0.0, 1.0))
        panel.y_axis([(tick / 5, f"{tick / 5:g}") for tick in range(6)])
        panel.x_axis([(place, str(place + 1)) for place in range(len(cells))], "step of the table")
        panel.line([(place, cell.value) for place, cell in enumerate(cells)], "line")
        panel.dots([(place, cell.value) for place, cell in enumerate(cells)], "dots")
        for place, cell in enumerate(cells):
            panel.line([(place, cell.low), (place, cell.high)], "line")
        chance = [(place, cell.other) for place, cell in enumerate(cells) if cell.other is not None]
        if chance:
            panel.line(chance, "line dashed second")
        panels.append(panel)
    return sheet(panels, "What is still heard of a clip at each step", columns=4)
