"""How near is too near: a threshold that unrelated pairs hardly ever fall below, shown and not assumed.

Continuations are paired with targets of other recordings (MusicLM, sec. 5.3). The threshold is fitted on the
pairs of one half of the recordings; how often it errs is counted on those of the other half.
"""

import math
from dataclasses import dataclass

import numpy as np

from musiclm.metrics.statistics import CONFIDENCE, clopper_pearson_upper

TARGET = 1e-4  # false-positive rate (MusicLM, sec. 5.3)
PAPER_TAU = 0.85  # there; it depends on the scale of the centroids
MARGIN = 0.5  # of the target: a threshold at its very edge would fail half of all verifications


@dataclass(frozen=True)
class Verification:
    """False positives among pairs that had no part in fitting, and the bound that 95 % confidence allows."""

    pairs: int
    false_positives: int
    rate: float
    upper: float


def negative_pairs(groups: np.ndarray, *, count: int, seed: int) -> np.ndarray:
    """`count` pairs [count, 2] of indices whose groups differ, each index about equally often.

    Args:
        groups: what must differ within a pair [N]: the recording.
        count: how many; at most as many as there are.
        seed: of the draw.

    Raises:
        ValueError: there are not that many.
    """
    sizes = np.unique(groups, return_counts=True)[1]
    possible = len(groups) ** 2 - int((sizes.astype(np.int64) ** 2).sum())
    if possible < count:
        raise ValueError(
            f"expected {count} pairs of unrelated recordings for the calibration, these examples allow "
            f"{possible}: ask for more --examples or prompts, or for --negatives {possible} "
            f"--false_positive_rate {least_rate(possible):.1g}, the least that so few can show"
        )
    generator = np.random.Generator(np.random.PCG64(seed))
    if possible <= 4 * count:
        first, second = np.nonzero(groups[:, None] != groups[None, :])
        return np.stack([first, second], axis=1)[generator.permutation(len(first))[:count]]
    pairs = np.zeros((0, 2), dtype=np.int64)
    while len(pairs) < count:
        first = np.concatenate([generator.permutation(len(groups)) for _ in range(1 + count // len(groups))])
        second = generator.integers(len(groups), size=len(first))
        drawn = np.stack([first, second], axis=1)[groups[first] != groups[second]]
        pairs = np.unique(np.concatenate([pairs, drawn]), axis=0)
    return generator.permutation(pairs)[:count]


def fit_tau(costs: np.ndarray, target: float = TARGET) -> float:
    """The largest threshold below which so few negatives lie [N] that their rate is shown to be small.

    Shown: the upper 95 % bound of the rate is below half the target, so that verification has room.

    Raises:
        ValueError: even no false positive at all among so few pairs would show it.
    """
    check_enough(len(costs), target)
    allowed = 0
    while clopper_pearson_upper(allowed + 1, len(costs)) <= MARGIN * target:
        allowed += 1
    return float(np.sort(costs)[allowed])  # matches lie below it, strictly


def check_enough(pairs: int, target: float) -> None:
    """Raise ValueError where no number of errors among the pairs could show the target rate."""
    if not 1e-9 <= target < 1:
        raise ValueError(f"expected a false_positive_rate between 0 and 1, got {target:g}")
    least = math.ceil(math.log(1 - CONFIDENCE) / math.log1p(-MARGIN * target))  # the bound of no errors
    if pairs < least:
        raise ValueError(
            f"expected at least {least} negative pairs to show a false-positive rate of {target:g}, "
            f"got {pairs}: ask for more --negatives, or allow --false_positive_rate {least_rate(pairs):.1g}"
        )


def least_rate(pairs: int) -> float:
    """The lowest target rate, rounded up to one digit, that so many pairs without an error would show."""
    rate = min(-math.expm1(math.log(1 - CONFIDENCE) / max(pairs, 1)) / MARGIN, 0.9)
    digit = 10.0 ** math.floor(math.log10(rate))
    return math.ceil(rate / digit + 1e-9) * digit


def verify(costs: np.ndarray, tau: float) -> Verification:
    """How often the threshold errs on other negatives [N]."""
    wrong = int((costs < tau).sum())
    return Verification(len(costs), wrong, wrong / len(costs), clopper_pearson_upper(wrong, len(costs)))


def halves(groups: np.ndarray) -> np.ndarray:
    """Which of two halves [N] each example belongs to, such that no group is in both."""
    names = np.unique(groups)
    order = np.random.Generator(np.random.PCG64(0)).permutation(len(names))
    return order[np.searchsorted(names, groups)] % 2
