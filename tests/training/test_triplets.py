"""The semi-hard triplet loss on points whose distances are known."""

import math

import pytest
import torch
from torch import Tensor

from musiclm.training.triplets import triplet_loss


def on_circle(*degrees: float) -> Tensor:
    angles = torch.tensor(degrees) * math.pi / 180
    return torch.stack([angles.cos(), angles.sin()], dim=1)


def distance(degrees: float) -> float:
    """Squared, between two points of the unit circle so far apart."""
    return 2 - 2 * math.cos(math.radians(degrees))


def groups(*numbers: int) -> tuple[Tensor, Tensor]:
    group = torch.tensor(numbers)
    same = group[:, None] == group
    return same, ~same


def test_it_is_zero_where_others_are_farther_by_the_margin() -> None:
    assert triplet_loss(on_circle(0, 1, 179, 180), *groups(0, 0, 1, 1), margin=1.0) == 0


def test_the_negative_is_the_nearest_of_those_farther_than_the_positive() -> None:
    # From 0: the positive at 40, negatives at -20 (nearer) and -60 (semi-hard). From 40: both are farther.
    vectors, (same, other) = on_circle(0, 40, -20, -60), groups(0, 0, 1, 2)
    expected = (distance(40) - distance(60) + 2) / 2 + (distance(40) - distance(60) + 2) / 2
    assert triplet_loss(vectors, same, other, margin=2.0).item() == pytest.approx(expected, abs=1e-5)


def test_without_a_semi_hard_one_the_farthest_is_taken() -> None:
    vectors, (same, other) = on_circle(0, 90, 10, 20), groups(0, 0, 1, 2)
    loss = triplet_loss(vectors, same, other, margin=0.5).item()
    pairs = [(90, 20), (90, 80)]  # from 0, from 90
    assert loss == pytest.approx(sum(distance(p) - distance(n) + 0.5 for p, n in pairs) / 2, abs=1e-5)


def test_what_is_not_known_to_be_other_music_is_no_negative() -> None:
    vectors, (same, other) = on_circle(0, 40, 50, 180), groups(0, 0, 1, 2)
    other[:, 2] = other[2] = False  # the refrain again
    assert triplet_loss(vectors, same, other, margin=1.0) == 0


def test_without_pairs_or_negatives_it_is_zero_and_has_gradients() -> None:
    vectors = on_circle(0, 90).requires_grad_()
    for numbers in ((0, 1), (0, 0)):
        loss = triplet_loss(vectors, *groups(*numbers), margin=1.0)
        loss.backward()
        assert loss == 0
    assert vectors.grad is not None
    assert vectors.grad.isfinite().all()


def test_it_pulls_a_tune_together_and_other_tunes_apart() -> None:
    vectors = on_circle(0, 40, 60).requires_grad_()
    triplet_loss(vectors, *groups(0, 0, 1), margin=1.0).backward()
    moved = torch.nn.functional.normalize(vectors - 0.01 * vectors.grad, dim=1)
    assert moved[0] @ moved[1] > vectors[0] @ vectors[1]
    assert moved[1] @ moved[2] < vectors[1] @ vectors[2]
