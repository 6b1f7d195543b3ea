"""The threshold errs as rarely as it says, on pairs it has not seen."""

import numpy as np
import pytest

from musiclm.audit.calibration import fit_tau, halves, negative_pairs, verify


def test_negative_pairs_are_of_different_groups_and_distinct() -> None:
    groups = np.repeat(np.arange(40), 5)
    for count in (1_000, 30_000):
        pairs = negative_pairs(groups, count=count, seed=0)
        assert pairs.shape == (count, 2)
        assert (groups[pairs[:, 0]] != groups[pairs[:, 1]]).all()
        assert len(np.unique(pairs, axis=0)) == count


def test_more_pairs_than_there_are_is_one_clear_line() -> None:
    with pytest.raises(ValueError, match=r"expected 100 pairs of unrelated recordings.*allow 50"):
        negative_pairs(np.repeat([0, 1], 5), count=100, seed=0)


def test_no_group_is_on_both_sides() -> None:
    groups = np.random.default_rng(0).integers(0, 30, 500)
    sides = halves(groups)
    assert set(groups[sides == 0]).isdisjoint(groups[sides == 1])
    assert len(set(groups[sides == 0])) == pytest.approx(15, abs=1)


def test_threshold_fitted_on_one_half_holds_on_the_other() -> None:
    shown = 0
    for seed in range(10):
        random = np.random.default_rng(seed)
        tau = fit_tau(random.normal(10, 2, 400_000), 1e-4)
        verified = verify(random.normal(10, 2, 400_000), tau)
        assert verified.rate == verified.false_positives / 400_000
        shown += verified.upper < 1e-4
    assert shown >= 9  # of 10: it is meant to have room to err


def test_too_few_negatives_to_show_anything_is_one_clear_line() -> None:
    with pytest.raises(ValueError, match="expected at least 59914 negative pairs"):
        fit_tau(np.ones(59_913), 1e-4)
    assert fit_tau(np.arange(59_914.0), 1e-4) == 0.0  # nothing lies below the least


def test_matches_lie_strictly_below() -> None:
    costs = np.concatenate([np.zeros(3), np.ones(997)])
    tau = fit_tau(costs, 0.05)
    assert verify(costs, tau).false_positives == 3
