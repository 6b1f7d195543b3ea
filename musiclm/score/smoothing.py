"""States over time that change seldom: the likeliest course through a model in which changes cost."""

from itertools import pairwise

import numpy as np


def steady(log_probabilities: np.ndarray, penalty: np.ndarray | float) -> np.ndarray:
    """The likeliest states [T], where every change from one to any other costs `penalty`.

    Args:
        log_probabilities: [S, T] of the states at each frame.
        penalty: nats, of a change; or [T], of a change to what begins at each frame.
    """
    count, length = log_probabilities.shape
    if not length:
        return np.empty(0, int)
    prices = np.broadcast_to(np.asarray(penalty, float), (length,))
    came = np.empty((count, length), np.int32)
    stay = np.arange(count)
    best = log_probabilities[:, 0].astype(float)
    for frame in range(1, length):
        top = int(best.argmax())
        change = best[top] - prices[frame]
        came[:, frame] = np.where(best >= change, stay, top)
        best = np.maximum(best, change) + log_probabilities[:, frame]
    states = np.empty(length, int)
    states[-1] = int(best.argmax())
    for frame in range(length - 1, 0, -1):
        states[frame - 1] = came[states[frame], frame]
    return states


def runs(states: np.ndarray) -> list[tuple[int, int]]:
    """The stretches (first frame, frame after the last) of states [T] that are the same."""
    edges = np.flatnonzero(np.diff(states)) + 1
    bounds = [0, *edges.tolist(), len(states)]
    return [(first, last) for first, last in pairwise(bounds) if last > first]
