"""The nearest entry is the one that brute force finds, for many vectors, for none, and under autocast."""

import torch

from musiclm.tokenizers.nearest import CHUNK, nearest


def test_it_is_what_brute_force_finds_across_chunks() -> None:
    vectors, entries = torch.randn(CHUNK + 50, 5), torch.randn(12, 5)
    found = nearest(vectors, entries)
    assert found.dtype == torch.int64
    assert torch.equal(found, torch.cdist(vectors, entries).argmin(dim=1))
    assert torch.equal(found[-50:], nearest(vectors[-50:], entries))


def test_half_precision_around_it_changes_no_entry() -> None:
    vectors, entries = torch.randn(500, 32), torch.randn(256, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = nearest(vectors, entries)
    assert torch.equal(inside, nearest(vectors, entries))


def test_no_vectors_have_no_entries() -> None:
    assert nearest(torch.zeros(0, 4), torch.randn(3, 4)).shape == (0,)
