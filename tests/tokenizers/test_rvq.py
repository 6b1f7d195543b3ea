"""The residual quantizer: learned with faiss, every level adds, encoding equals faiss's own."""

import math
from itertools import pairwise

import pytest
import torch

from musiclm.tokenizers.rvq import ResidualQuantizer


def sphere(count: int, dimension: int = 16, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(6, dimension, generator=generator)
    which = torch.randint(6, (count,), generator=generator)
    vectors = centres[which] + 0.5 * torch.randn(count, dimension, generator=generator)
    return torch.nn.functional.normalize(vectors, dim=-1)


@pytest.fixture(scope="module")
def quantizer() -> ResidualQuantizer:
    part = ResidualQuantizer(16, 4, codebook_size=16)
    part.fit(sphere(1000))
    return part


def test_codes_have_one_entry_per_level_in_range(quantizer: ResidualQuantizer) -> None:
    codes = quantizer.encode(sphere(50, seed=1))
    assert codes.shape == (50, 4)
    assert codes.dtype == torch.int64
    assert codes.min() >= 0
    assert codes.max() < 16


def test_what_is_left_falls_with_each_level(quantizer: ResidualQuantizer) -> None:
    vectors = sphere(200)
    codes = quantizer.encode(vectors)
    left = [(vectors - quantizer.decode(codes[:, :levels])).norm(dim=1).mean() for levels in range(5)]
    assert all(after < before for before, after in pairwise(left))


def test_fit_reports_the_cosine_of_each_level() -> None:
    part = ResidualQuantizer(16, 4, codebook_size=16)
    vectors = sphere(500)
    cosines = part.fit(vectors)
    assert cosines == sorted(cosines)
    assert len(cosines) == 4
    decoded = part.decode(part.encode(vectors))
    assert cosines[-1] == pytest.approx(torch.cosine_similarity(vectors, decoded).mean().item(), abs=1e-6)
    assert cosines[-1] > 0.9


def test_encoding_and_decoding_equal_faiss(quantizer: ResidualQuantizer) -> None:
    faiss = pytest.importorskip("faiss")
    reference = faiss.ResidualQuantizer(16, 4, 4)
    reference.max_beam_size = 1
    faiss.copy_array_to_vector(quantizer.codebooks.numpy().ravel(), reference.codebooks)
    reference.is_trained = True
    vectors = sphere(300, seed=2)
    packed = reference.compute_codes(vectors.numpy())
    codes = quantizer.encode(vectors)
    # Four levels of four bits: two codes a byte, the first in the low half.
    expected = torch.from_numpy(packed).long()
    expected = torch.stack([expected & 15, expected >> 4], dim=-1).flatten(1)
    assert torch.equal(codes, expected)
    torch.testing.assert_close(quantizer.decode(codes), torch.from_numpy(reference.decode(packed)))


def test_a_row_of_a_batch_equals_the_row_alone(quantizer: ResidualQuantizer) -> None:
    vectors = sphere(20, seed=3)
    alone = torch.cat([quantizer.encode(row[None]) for row in vectors])
    assert torch.equal(quantizer.encode(vectors), alone)


def test_fewer_vectors_than_entries_are_refused() -> None:
    with pytest.raises(ValueError, match=r"at least 16 vectors.*got 15"):
        ResidualQuantizer(16, 4, codebook_size=16).fit(sphere(15))


def test_as_many_vectors_as_entries_are_all_learned() -> None:
    part = ResidualQuantizer(16, 2, codebook_size=16)
    vectors = sphere(16)
    part.fit(vectors)
    torch.testing.assert_close(part.decode(part.encode(vectors)), vectors, atol=1e-5, rtol=0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_values_that_are_no_numbers_are_refused(quantizer: ResidualQuantizer, bad: float) -> None:
    vectors = sphere(20)
    vectors[3, 5] = bad
    with pytest.raises(ValueError, match="finite"):
        quantizer.encode(vectors)
    with pytest.raises(ValueError, match="finite"):
        ResidualQuantizer(16, 4, codebook_size=16).fit(vectors)


def test_wrong_shapes_are_refused(quantizer: ResidualQuantizer) -> None:
    with pytest.raises(ValueError, match=r"\[B, 16\]"):
        quantizer.encode(torch.zeros(2, 8))
    with pytest.raises(ValueError, match="at most 4 levels"):
        quantizer.decode(torch.zeros(2, 5, dtype=torch.long))


def test_same_vectors_and_seed_same_codebooks(quantizer: ResidualQuantizer) -> None:
    again = ResidualQuantizer(16, 4, codebook_size=16)
    again.fit(sphere(1000))
    assert torch.equal(again.codebooks, quantizer.codebooks)
    other = ResidualQuantizer(16, 4, codebook_size=16)
    other.fit(sphere(1000), seed=100)
    assert not torch.equal(other.codebooks, quantizer.codebooks)


def test_state_holds_the_codebooks(quantizer: ResidualQuantizer) -> None:
    fresh = ResidualQuantizer(16, 4, codebook_size=16)
    fresh.load_state_dict(quantizer.state_dict())
    vectors = sphere(30, seed=4)
    assert torch.equal(fresh.encode(vectors), quantizer.encode(vectors))


def test_melody_s_size_is_learned_and_every_level_adds() -> None:
    part = ResidualQuantizer(192, 24, codebook_size=512)
    vectors = sphere(4096, 192)
    cosines = part.fit(vectors, iterations=1)
    assert len(cosines) == 24
    assert all(after > before for before, after in pairwise(cosines))
    assert cosines[0] < 0.95 < 0.99 < cosines[-1]
    codes = part.encode(vectors[:3])
    assert codes.shape == (3, 24)
    assert part.decode(codes).shape == (3, 192)
    assert torch.cosine_similarity(part.decode(codes), vectors[:3]).min() > 0.9
    with pytest.raises(ValueError, match=r"at least 512 vectors.*got 511"):
        part.fit(vectors[:511])
