"""Promises of the k-means part."""

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musiclm.tokenizers.kmeans import KMeans


def make_kmeans(num_centroids: int = 8, dimension: int = 4, seed: int = 0) -> KMeans:
    generator = torch.Generator().manual_seed(seed)
    part = KMeans(num_centroids, dimension, layer=3)
    part.centroids.copy_(torch.randn(num_centroids, dimension, generator=generator))
    part.mean.copy_(torch.randn(dimension, generator=generator) * 10)
    part.std.copy_(torch.rand(dimension, generator=generator) * 5 + 0.1)
    return part


@given(batch=st.integers(1, 3), frames=st.integers(1, 40), seed=st.integers(0, 1000))
@settings(max_examples=20, deadline=None)
def test_the_token_is_the_centroid_that_brute_force_finds(batch: int, frames: int, seed: int) -> None:
    part = make_kmeans(seed=seed)
    points = torch.randn(batch, frames, 4, generator=torch.Generator().manual_seed(seed))
    tokens = part.assign(points * part.std + part.mean)
    expected = torch.cdist(points, part.centroids.expand(batch, -1, -1)).argmin(dim=-1)
    assert tokens.dtype == torch.int64
    assert torch.equal(tokens, expected)


def test_each_dimension_counts_by_its_own_deviation() -> None:
    part = KMeans(2, 2, layer=0)
    part.centroids.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    part.std.copy_(torch.tensor([1.0, 100.0]))
    part.mean.copy_(torch.tensor([0.0, 1000.0]))
    # Nearest without normalisation would be decided by the second dimension alone.
    assert part.assign(torch.tensor([[0.9, 1010.0], [0.1, 1090.0]])).tolist() == [0, 1]


def test_of_equally_near_centroids_the_lowest_is_taken() -> None:
    part = KMeans(3, 2, layer=0)
    assert part.assign(torch.ones(5, 2)).tolist() == [0] * 5


def test_many_frames_are_assigned_as_few_at_a_time() -> None:
    part = make_kmeans()
    features = torch.randn(40_000, 4, generator=torch.Generator().manual_seed(0)) * part.std + part.mean
    assert torch.equal(part.assign(features)[-50:], part.assign(features[-50:]))


def test_the_whole_state_is_in_the_state_dict() -> None:
    part, other = make_kmeans(seed=0), make_kmeans(seed=1)
    other.load_state_dict(part.state_dict())
    features = torch.randn(100, 4, generator=torch.Generator().manual_seed(0)) * part.std + part.mean
    assert torch.equal(part.assign(features), other.assign(features))
