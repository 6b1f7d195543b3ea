"""One figure of many clips, with its 95 % interval."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from musiclm.metrics.statistics import bootstrap_interval

FEW = 5  # clips, below which a figure has no interval


@dataclass(frozen=True)
class Summary:
    """Of a measure over a folder; the interval is absent where clips are few."""

    value: float
    low: float
    high: float
    clips: int

    @classmethod
    def of(cls, values: Sequence[float], statistic: Callable[[np.ndarray], float] = np.median) -> "Summary":
        """Of the values that are numbers."""
        known = np.array([value for value in values if math.isfinite(value)])
        if len(known) == 0:
            return cls(math.nan, math.nan, math.nan, 0)
        interval = bootstrap_interval(known, statistic) if len(known) >= FEW else (math.nan, math.nan)
        return cls(float(statistic(known)), *interval, len(known))

    @classmethod
    def mean(cls, values: Sequence[float]) -> "Summary":
        """The mean of the values that are numbers."""
        return cls.of(values, np.mean)

    def __str__(self) -> str:
        if not self.clips:
            return "-"
        interval = "" if math.isnan(self.low) else f" ({self.low:.2f}..{self.high:.2f})"
        return f"{self.value:.2f}{interval}"
