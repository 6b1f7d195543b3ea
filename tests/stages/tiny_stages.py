"""Every stage in both patterns at a size for tests."""

import torch
from torch import Tensor

from musiclm.stages.coarse import Coarse
from musiclm.stages.fine import Fine
from musiclm.stages.layout import Layout, Segment
from musiclm.stages.semantic import Semantic
from musiclm.stages.stage import Stage
from musiclm.stages.streams import Stream
from musiclm.stages.transformer import TransformerConfig

TINY = TransformerConfig(width=16, layers=2, heads=2, feed_forward=24, dropout=0.0)


def tiny_streams(*, clock: float = 25.0, levels: int = 3, melody: bool = False) -> tuple[Stream, ...]:
    """Codebooks of 8, two MuLan tokens, semantic tokens at `clock` Hz, two acoustic frames to each."""
    streams = [Stream("mulan", 2, 8, 0.0), Stream("semantic", 1, 8, clock)]
    streams.append(Stream("acoustic", levels, 8, 2 * clock))
    return (*streams, *([Stream("melody", 2, 8, 1 / 3)] if melody else []))


STAGES = {
    "semantic flatten": lambda: Semantic(TINY, streams=tiny_streams()),
    "semantic delay": lambda: Semantic(TINY, pattern="delay", broadcast=True, streams=tiny_streams()),
    "coarse flatten": lambda: Coarse(TINY, num_coarse=3, streams=tiny_streams()),
    "coarse delay": lambda: Coarse(
        TINY, pattern="delay", lookahead=1, broadcast=True, num_coarse=3, streams=tiny_streams()
    ),
    # At one token a second, a melody window of 3 s is three of them.
    **{
        f"semantic melody {pattern}": lambda pattern=pattern: Semantic(
            TINY, pattern=pattern, streams=tiny_streams(clock=1.0, melody=True), unfolded_width=16
        )
        for pattern in ("flatten", "delay")
    },
    "semantic combined delay": lambda: Semantic(
        TINY,
        pattern="delay",
        streams=(*tiny_streams(), Stream("chord", 2, 8, 25.0)),
        combined=("chord",),
    ),
    "coarse melody delay": lambda: Coarse(
        TINY,
        pattern="delay",
        lookahead=1,
        broadcast=True,
        num_coarse=3,
        streams=tiny_streams(clock=1.0, melody=True),
        unfolded_width=16,
    ),
    "fine flatten": lambda: Fine(TINY, num_coarse=2, streams=tiny_streams(levels=5)),
    "fine delay": lambda: Fine(
        TINY, pattern="delay", lookahead=2, num_coarse=2, streams=tiny_streams(levels=5)
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
