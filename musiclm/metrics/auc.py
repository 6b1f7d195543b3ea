"""The area under the ROC curve: how surely a measure tells what has a property from what lacks it."""

from collections.abc import Sequence


def auc(have: Sequence[float], lack: Sequence[float]) -> float:
    """Chance that a value of the first group exceeds one of the second; ties count half (Mann-Whitney U)."""
    from sklearn.metrics import roc_auc_score

    return float(roc_auc_score([True] * len(have) + [False] * len(lack), [*have, *lack]))
