"""How well beats were heard: the F-measure, as mir_eval computes it (`mir_eval.beat.f_measure`)."""

import numpy as np

WINDOW = 0.07  # seconds that a beat may be off (Dixon 2007)


def f_measure(heard: np.ndarray, true: np.ndarray, *, window: float = WINDOW) -> float:
    """Harmonic mean of precision and recall, where a beat may be matched once, 0 … 1.

    As many are matched as can be. Without any beat heard, or without any there, it is 0. mir_eval's usual
    trimming of the first 5 s is left to the caller.

    Args:
        heard: [N] seconds, ascending.
        true: [M] seconds, ascending.
        window: seconds.
    """
    matched = matches(heard, true, window=window)
    return 2.0 * matched / (len(heard) + len(true)) if matched else 0.0


def matches(heard: np.ndarray, true: np.ndarray, *, window: float = WINDOW) -> int:
    """The most pairs of beats within a window that share no beat; of sorted times, the first that fit."""
    count = here = there = 0
    while here < len(heard) and there < len(true):
        distance = heard[here] - true[there]
        if abs(distance) <= window:
            count += 1
        if distance <= window:
            here += 1
        if distance >= -window:
            there += 1
    return count
