"""Shares and means of examples, with what is sure about them."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

CONFIDENCE = 0.95
RESAMPLES = 2_000  # whose percentiles are steady to about a twentieth of the interval's width


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


def bootstrap_interval(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], float] = np.mean,
    confidence: float = CONFIDENCE,
    *,
    seed: int = 0,
) -> tuple[float, float]:
    """The interval in which a statistic of the population lies, by resampling (Efron, 1979; percentiles).

    Examples that belong together (the samples of one prompt) are one row, which is drawn as a whole. Where
    all rows are the same the interval has no width: of a share that is 0 or 1, take `wilson`.

    Args:
        values: rows [N, ...] that are independent of each other.
        statistic: of rows [N, ...], a number.
        confidence: how often the interval holds what it is of, above 0 and below 1.
        seed: of the resampling.

    Raises:
        ValueError: there is no row, or one of the values is not finite.
    """
    values = np.asarray(values, dtype=float)
    if len(values) == 0 or not np.isfinite(values).all():
        raise ValueError(f"expected one finite value or more, got {values.size} of shape {values.shape}")
    rows = np.random.default_rng(seed).integers(len(values), size=(RESAMPLES, len(values)))
    found = [float(statistic(values[chosen])) for chosen in rows]
    tail = (1 - confidence) / 2
    low, high = np.quantile(found, [tail, 1 - tail])
    return float(low), float(high)


def difference_interval(first: np.ndarray, second: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of how far the mean of values [N] is above that of others [M], each resampled apart.

    Raises:
        ValueError: of one there is no value, or one of them is not finite.
    """
    both = [np.asarray(each, dtype=float) for each in (first, second)]
    if any(len(each) == 0 or not np.isfinite(each).all() for each in both):
        raise ValueError(f"expected finite values of both, got {len(both[0])} and {len(both[1])}")
    random = np.random.default_rng(seed)
    means = [random.choice(each, (RESAMPLES, len(each))).mean(axis=1) for each in both]
    low, high = np.quantile(means[0] - means[1], [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)


def mean_interval(values: np.ndarray, *, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the mean of values from 0 to 1, by resampling rows [N, ...] that are independent.

    Where all say the same, yes or no, resampling would be sure of it; the interval then is Wilson's.
    """
    if np.isin(values, (0.0, 1.0)).all() and values.min() == values.max():
        return wilson(float(values.min()), len(values))
    return bootstrap_interval(values, seed=seed)
