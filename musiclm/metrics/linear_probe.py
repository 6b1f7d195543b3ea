"""What can be read off features by a linear classifier: how plainly they say something."""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

PENALTIES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # of the ridge, relative to the features' mean square
Label = str | None


def linear_probe(
    train: Tensor, train_labels: Sequence[Label], test: Tensor, test_labels: Sequence[Label]
) -> float:
    """Accuracy on `test` [N, D] of a ridge classifier learned on `train`.

    Points whose label is None are left out. The penalty is chosen on the last fifth of `train`, which the
    weights of that choice have not seen; then all of it is used. RidgeClassifierCV would leave out single
    points, which their neighbours in the same recording give away.

    Raises:
        ValueError: too few points have a label.
    """
    from sklearn.linear_model import RidgeClassifier

    train, known = _labelled(train, train_labels)
    test, truth = _labelled(test, test_labels)  # a label that training never saw is an error anyway
    if len(train) < 5 or len(test) == 0:
        raise ValueError(
            f"expected labelled recordings in both splits, got {len(train)} and {len(test)} points"
        )
    mean, std = train.mean(dim=0), train.std(dim=0).clamp(min=1e-4)
    points, others = ((x - mean).div(std).double().numpy() for x in (train, test))

    def accuracy(penalty: float, first: int, held_out: np.ndarray, labels: list[str]) -> float:
        """Of the classifier that has learned from the first so many points."""
        classifier = RidgeClassifier(alpha=penalty * first).fit(points[:first], known[:first])
        return float(classifier.score(held_out, labels))

    first = len(points) * 4 // 5
    scores = [accuracy(penalty, first, points[first:], known[first:]) for penalty in PENALTIES]
    best = PENALTIES[max(range(len(PENALTIES)), key=scores.__getitem__)]
    return accuracy(best, len(points), others, truth)


def _labelled(points: Tensor, labels: Sequence[Label]) -> tuple[Tensor, list[str]]:
    """The points that have a label, and their labels."""
    kept = torch.tensor([label is not None for label in labels], dtype=torch.bool)
    return points[kept], [label for label in labels if label is not None]
