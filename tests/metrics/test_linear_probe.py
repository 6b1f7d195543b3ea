"""A linear probe reads what is linear in the features, and no more."""

import torch

from musiclm.metrics.linear_probe import linear_probe


def points(count: int, seed: int) -> tuple[torch.Tensor, list[str]]:
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(count, 6, generator=generator)
    return features, ["high" if value > 0 else "low" for value in (features @ torch.arange(6.0)).tolist()]


def test_a_label_that_is_linear_in_the_features_is_read() -> None:
    assert linear_probe(*points(500, 0), *points(200, 1)) > 0.95


def test_a_label_that_is_not_in_the_features_is_not_read() -> None:
    generator = torch.Generator().manual_seed(2)
    train, _ = points(500, 0)
    test, _ = points(400, 1)
    names = [str(value) for value in torch.randint(2, (900,), generator=generator).tolist()]
    assert 0.4 < linear_probe(train, names[:500], test, names[500:]) < 0.6


def test_points_without_a_label_do_not_count() -> None:
    features, labels = points(500, 0)
    test, truth = points(200, 1)
    expected = linear_probe(features, labels, test, truth)
    noise = torch.full((50, 6), 1e3)
    none: list[str | None] = [None] * 50
    found = linear_probe(torch.cat([noise, features]), none + labels, torch.cat([noise, test]), none + truth)
    assert found == expected


def test_a_label_that_training_never_saw_is_an_error() -> None:
    features, labels = points(500, 0)
    test, truth = points(200, 1)
    assert linear_probe(features, labels, test, ["other"] * len(truth)) == 0.0
