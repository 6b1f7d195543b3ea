"""The divergence of labels is Kullback and Leibler's."""

import math

import pytest
import torch

from musiclm.metrics.labels import label_divergences


def test_the_divergence_is_what_its_formula_says() -> None:
    reference, generated = torch.tensor([[0.5, 0.5], [0.9, 0.1]]), torch.tensor([[0.5, 0.5], [0.25, 0.75]])
    found = label_divergences(reference, generated)
    assert found[0, 0] == pytest.approx(0.0, abs=1e-7)
    assert found[0, 1] == pytest.approx(0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75))
    assert found[1, 0] == pytest.approx(0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5))


def test_a_probability_of_0_does_not_decide_alone() -> None:
    found = label_divergences(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]))
    assert found.item() == pytest.approx(-math.log(1e-6), rel=1e-3)


def test_it_agrees_with_scipy() -> None:
    entropy = pytest.importorskip("scipy.stats").entropy
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.rand(3, 9, generator=generator, dtype=torch.float64).softmax(dim=1) for _ in range(2))
    assert label_divergences(p, q).numpy() == pytest.approx(
        entropy(p.numpy()[:, None], q.numpy()[None], axis=2), rel=1e-6
    )
