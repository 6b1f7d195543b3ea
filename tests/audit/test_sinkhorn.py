"""The transport cost against POT's solvers and exact transport, and what any distance must hold to."""

import numpy as np
import ot
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from musiclm.audit.sinkhorn import (
    Histograms,
    centroid_distances,
    default_regularization,
    entropies,
    histograms,
    transport_costs,
)

CENTROIDS = 64


@pytest.fixture(scope="module")
def distances() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return centroid_distances(torch.randn(CENTROIDS, 12, generator=generator))


def sequences(count: int, *, length: int = 40, seed: int = 0) -> Tensor:
    """Sequences that dwell on few ids, as music does."""
    generator = torch.Generator().manual_seed(seed)
    few = torch.randint(CENTROIDS, (count, 12), generator=generator)
    return few.gather(1, torch.randint(12, (count, length), generator=generator))


def reference(first: Histograms, second: Histograms, distances: Tensor, solve: object) -> list[float]:
    costs = []
    for row in range(len(first.ids)):
        a, b = first.shares[row].double().numpy(), second.shares[row].double().numpy()
        cost = distances[first.ids[row]][:, second.ids[row]].double().numpy()[a > 0][:, b > 0]
        plan = solve(a[a > 0] / a.sum(), b[b > 0] / b.sum(), cost)  # type: ignore[operator]
        costs.append(float((plan * cost).sum()))
    return costs


# The smaller the regularization, the longer POT's solver takes to converge.
@pytest.mark.parametrize(("share", "count"), [(0.04, 2), (0.05, 4), (0.2, 24)])
def test_costs_are_those_of_pots_converged_solver(distances: Tensor, share: float, count: int) -> None:
    first, second = histograms(sequences(count)), histograms(sequences(count, seed=1))
    regularization = share * float(distances.mean())
    own = transport_costs(first, second, distances, regularization=regularization)
    expected = reference(
        first,
        second,
        distances,
        lambda a, b, cost: ot.sinkhorn(
            a, b, cost, regularization, method="sinkhorn_log", numItermax=20_000, stopThr=1e-7, warn=False
        ),
    )
    torch.testing.assert_close(own, torch.tensor(expected), rtol=1e-3, atol=0)


def test_exact_transport_is_reached_as_the_regularization_shrinks(distances: Tensor) -> None:
    first, second = histograms(sequences(12)), histograms(sequences(12, seed=1))
    exact = torch.tensor(reference(first, second, distances, ot.emd))
    gaps = []
    for share in (0.3, 0.1, 0.03, 0.01):
        costs = transport_costs(first, second, distances, regularization=share * float(distances.mean()))
        assert (costs >= exact * (1 - 1e-3)).all()
        gaps.append(float((costs / exact - 1).mean()))
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 0.01


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6))
def test_cost_is_symmetric_and_blind_to_order_and_batch(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    distances = centroid_distances(torch.randn(CENTROIDS, 4, generator=generator))
    regularization = default_regularization(distances)
    first, second = sequences(5, seed=seed), sequences(5, seed=seed + 1, length=25)
    costs = transport_costs(histograms(first), histograms(second), distances, regularization=regularization)
    back = transport_costs(histograms(second), histograms(first), distances, regularization=regularization)
    torch.testing.assert_close(costs, back, rtol=2e-3, atol=1e-4)
    shuffled = first[:, torch.randperm(first.shape[1], generator=generator)]
    alone = [
        transport_costs(
            histograms(shuffled[row : row + 1]),
            histograms(second[row : row + 1]),
            distances,
            regularization=regularization,
        )
        for row in range(5)
    ]
    torch.testing.assert_close(torch.cat(alone), costs, rtol=2e-3, atol=1e-4)


def test_a_sequence_costs_nothing_to_itself(distances: Tensor) -> None:
    own = histograms(sequences(8))
    costs = transport_costs(own, own, distances, regularization=default_regularization(distances))
    assert (costs < 0.05 * distances.mean()).all()


def test_all_mass_on_one_id_moves_the_whole_distance(distances: Tensor) -> None:
    first, second = torch.full((1, 9), 3), torch.full((1, 7), 11)
    costs = transport_costs(histograms(first), histograms(second), distances, regularization=0.5)
    assert costs.item() == pytest.approx(float(distances[3, 11]), rel=1e-5)


def test_histograms_count_every_token() -> None:
    found = histograms(torch.tensor([[5, 2, 5, 5], [1, 1, 1, 1]]))
    assert found.ids.tolist() == [[2, 5], [1, 0]]
    assert found.shares.tolist() == [[0.25, 0.75], [1.0, 0.0]]
    assert found.sizes().tolist() == [2, 1]


def test_entropy_is_zero_for_a_held_note_and_full_for_no_repetition() -> None:
    tokens = torch.stack([torch.full((16,), 3), torch.arange(16)])
    assert entropies(tokens).numpy() == pytest.approx(np.array([0.0, 4.0]), abs=1e-5)


@pytest.mark.parametrize("bad", [torch.zeros(0, 5), torch.zeros(3, 0), torch.zeros(4)])
def test_what_is_no_sequence_is_refused(bad: Tensor) -> None:
    with pytest.raises(ValueError, match="expected sequences of tokens"):
        histograms(bad.long())


def test_a_regularization_of_nothing_is_refused(distances: Tensor) -> None:
    own = histograms(sequences(2))
    with pytest.raises(ValueError, match="regularization above 0"):
        transport_costs(own, own, distances, regularization=0.0)
