"""Shares of examples, with what is sure about them."""

import math
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A share of examples with its 95 % interval; all numbers are 0 where there are no examples.

    Attributes:
        count: examples of which it is true.
        examples: how many there are.
        rate: the share of the population, 0 … 1; of a stratified sample it is weighted.
        low, high: Wilson's interval.
    """

    count: int
    examples: int
    rate: float
    low: float
    high: float


def estimate(true: np.ndarray, weights: np.ndarray | None = None) -> Estimate:
    """The share of examples [N] of which something is `true`.

    Args:
        true: bool [N].
        weights: how many of the population each example stands for [N]; all the same by default. The interval
            then is that of as many equal examples as carry the same information (Kish's effective size).
    """
    count, examples = int(true.sum()), len(true)
    if examples == 0:
        return Estimate(0, 0, 0.0, 0.0, 0.0)
    if weights is None:
        weights = np.ones(examples)
    rate = float((weights * true).sum() / weights.sum())
    effective = float(weights.sum() ** 2 / (weights**2).sum())
    return Estimate(count, examples, rate, *wilson(rate, effective))


def wilson(rate: float, examples: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share of `examples` (Wilson, 1927)."""
    z = 1.959964  # of a normal distribution's two-sided 95 %
    middle = (rate + z**2 / (2 * examples)) / (1 + z**2 / examples)
    half = z * math.sqrt(rate * (1 - rate) / examples + z**2 / (4 * examples**2)) / (1 + z**2 / examples)
    # At a rate of 0 or 1 the interval ends there, but for rounding.
    return min(max(middle - half, 0.0), rate), max(min(middle + half, 1.0), rate)


def clopper_pearson_upper(count: int, examples: int) -> float:
    """The rate that is exceeded with 5 % confidence at most (one-sided, exact; Clopper and Pearson, 1934)."""
    from scipy.stats import beta

    if count >= examples:
        return 1.0
    return float(beta.ppf(CONFIDENCE, count + 1, examples - count))
