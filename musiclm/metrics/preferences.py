"""What listeners prefer: wins, and whether they are more than chance."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Comparison:
    """One system against another.

    Attributes:
        wins: answers that prefer the first.
        losses: answers that prefer the second.
        ties: answers that prefer neither.
        items: that were compared.
        p: chance of a difference as large where there is none (two-sided, Wilcoxon's signed-rank test).
    """

    wins: int
    losses: int
    ties: int
    items: int
    p: float


def compare(scores: Sequence[Sequence[float]], *, tests: int = 1) -> Comparison:
    """Of answers about two systems, by item.

    Several listeners of one item are not independent of each other: the test is of the items' mean scores.
    Items without a difference are left out of it (Wilcoxon, 1945).

    Args:
        scores: of every item, its answers: above 0 for the first system, below for the second.
        tests: that are made at once; p is multiplied by their number (Bonferroni), and is 1 at most.
    """
    from scipy.stats import wilcoxon

    answers = np.array([answer for own in scores for answer in own])
    means = np.array([np.mean(own) for own in scores if len(own)])
    means = means[means != 0]
    p = float(wilcoxon(means).pvalue) if len(means) else 1.0
    return Comparison(
        wins=int((answers > 0).sum()),
        losses=int((answers < 0).sum()),
        ties=int((answers == 0).sum()),
        items=sum(1 for own in scores if len(own)),
        p=min(1.0, p * tests),
    )
