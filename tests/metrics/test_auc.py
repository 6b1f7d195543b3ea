"""The area under the ROC curve is counted in pairs."""

from musiclm.metrics.auc import auc


def test_it_is_the_share_of_pairs_won() -> None:
    assert auc([3, 4], [1, 2]) == 1.0
    assert auc([1, 2], [3, 4]) == 0.0
    assert auc([1, 1], [1, 1]) == 0.5
    assert auc([1, 3], [2, 2]) == 0.5
