"""Every stage in both patterns at a size for tests."""

import torch
from torch import Tensor

from musiclm.stages.coarse import Coarse
from musiclm.stages.fine import Fine
from musiclm.stages.layout import Layout, Segment
from musiclm.stages.semantic import Semantic
from musiclm.stages.stage import Stage
from musiclm.stages.transformer import TransformerConfig

TINY = TransformerConfig(width=16, layers=2, heads=2, feed_forward=24, dropout=0.0)
MELODY = {"melody_levels": 2, "melody_codebook_size": 8, "melody_width": 16}

STAGES = {
    "semantic flatten": lambda: Semantic(
        TINY, semantic_codebook_size=8, mulan_levels=2, mulan_codebook_size=8
    ),
    "semantic delay": lambda: Semantic(
        TINY, pattern="delay", broadcast=True, semantic_codebook_size=8, mulan_levels=2, mulan_codebook_size=8
    ),
    "coarse flatten": lambda: Coarse(
        TINY,
        num_coarse=3,
        acoustic_codebook_size=8,
        mulan_levels=2,
        mulan_codebook_size=8,
        semantic_codebook_size=8,
    ),
    "coarse delay": lambda: Coarse(
        TINY,
        pattern="delay",
        lookahead=1,
        broadcast=True,
        num_coarse=3,
        acoustic_codebook_size=8,
        mulan_levels=2,
        mulan_codebook_size=8,
        semantic_codebook_size=8,
    ),
    # At one token a second, a melody window of 3 s is three of them.
    **{
        f"semantic melody {pattern}": lambda pattern=pattern: Semantic(
            TINY,
            pattern=pattern,
            semantic_codebook_size=8,
            semantic_frame_rate=1.0,
            mulan_levels=2,
            mulan_codebook_size=8,
            **MELODY,
        )
        for pattern in ("flatten", "delay")
    },
    "coarse melody delay": lambda: Coarse(
        TINY,
        pattern="delay",
        lookahead=1,
        broadcast=True,
        num_coarse=3,
        acoustic_codebook_size=8,
        acoustic_frame_rate=2.0,
        mulan_levels=2,
        mulan_codebook_size=8,
        semantic_codebook_size=8,
        semantic_frame_rate=1.0,
        **MELODY,
    ),
    "fine flatten": lambda: Fine(TINY, num_coarse=2, acoustic_levels=5, acoustic_codebook_size=8),
    "fine delay": lambda: Fine(
        TINY, pattern="delay", lookahead=2, num_coarse=2, acoustic_levels=5, acoustic_codebook_size=8
    ),
}


def make_stage(name: str) -> Stage:
    torch.manual_seed(1)
    stage = STAGES[name]()
    with torch.no_grad():
        for parameter in stage.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return stage.eval()


def random_codes(stage: Stage, frames: int, batch: int = 1) -> dict[str, Tensor]:
    layout = stage.layout
    return {
        s.name: torch.randint(s.codebook_size, (batch, s.levels, layout.frames_needed(s, frames)))
        for s in layout.segments
    }


def conditions_of(stage: Stage, codes: dict[str, Tensor]) -> dict[str, Tensor]:
    return {segment.name: codes[segment.name] for segment in stage.layout.conditions}


def ids_of(layout: Layout, segment: Segment, level: int) -> range:
    """The ids that a level of a segment owns."""
    start = layout.offsets[segment.name] + level * segment.codebook_size
    return range(start, start + segment.codebook_size)
