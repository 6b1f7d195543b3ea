"""A stage's embeddings begin at what the codes stand for."""

import pytest
import torch
from torch import Tensor

from musiclm.stages.stage import EMBEDDING_STD, main_directions
from tests.stages.tiny_stages import STAGES, ids_of, make_stage
from tests.tiny import live_bytes


def distances(points: Tensor) -> Tensor:
    """Of all pairs of points [N, D], relative to their mean."""
    apart = torch.pdist(points)
    return apart / apart.mean()


@pytest.mark.parametrize("name", list(STAGES))
def test_codes_that_sound_alike_begin_alike(name: str) -> None:
    stage = make_stage(name)
    before = stage.embedding.weight.detach().clone()
    generator = torch.Generator().manual_seed(0)
    books = {
        "acoustic": torch.randn(5, 8, 12, generator=generator),
        "semantic": torch.randn(1, 8, 16, generator=generator),
        "melody": torch.randn(2, 8, 16, generator=generator),
    }
    stage.start_from(books)
    for segment in stage.layout.segments:
        rows = stage.table(segment).weight.detach()
        for level in range(segment.levels):
            ids = ids_of(stage.layout, segment, level)
            own = rows[ids.start : ids.stop]
            if segment.key not in books:
                assert torch.equal(own, before[ids.start : ids.stop])
                continue
            wanted = books[segment.key][segment.first_level + level]
            torch.testing.assert_close(distances(own), distances(wanted), atol=1e-3, rtol=1e-3)
            first = books[segment.key][segment.first_level]
            loudness = float((wanted - wanted.mean(dim=0)).norm() / (first - first.mean(dim=0)).norm())
            assert float(own.norm()) == pytest.approx(loudness * EMBEDDING_STD * own.numel() ** 0.5, rel=0.01)


def test_wide_codebooks_keep_their_main_directions() -> None:
    generator = torch.Generator().manual_seed(0)
    flat = torch.randn(2, 50, 3, generator=generator) @ torch.randn(3, 20, generator=generator)
    narrowed = flat @ main_directions(flat, 3)
    assert narrowed.shape == (2, 50, 3)
    torch.testing.assert_close(torch.pdist(narrowed[1]), torch.pdist(flat[1]), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("points", [3, 8, 2000])
def test_of_few_points_and_many_there_are_as_many_directions(points: int) -> None:
    """And of many in the memory that they take, not in that of a square of them (600 MB of a codec's)."""
    entries = torch.randn(1, points, 8, generator=torch.Generator().manual_seed(0))
    directions = main_directions(entries, 8)
    torch.testing.assert_close(directions.T @ directions, torch.eye(8), atol=1e-5, rtol=0)
    assert main_directions(entries, 12).shape == (8, 12)
    assert live_bytes(lambda: main_directions(entries, 8)) < 2**20
