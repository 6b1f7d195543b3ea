"""The melody among a stage's conditions: 24 tokens for every 3 s of music (MusicLM, appendix C).

A window's tokens say which notes sound in its 4 s. Flattened, they stand in the prefix, as in the paper. In
the `delay` pattern they are unfolded, so that a step is told the pitches that are due then.
"""

from musiclm.stages.conditions import Unfolding
from musiclm.stages.layout import Segment

HOP_SECONDS = 3.0  # MusicLM, appendix C
SLOTS = 25  # of 0.12 s, a sixteenth at 125 beats per minute


def melody_segments(levels: int, codebook_size: int, *, width: int) -> tuple[Segment, ...]:
    """The segment of the melody, absent from a stage where `levels` is 0.

    Args:
        levels: tokens per window.
        codebook_size: entries per level.
        width: of its embeddings in the `delay` pattern.
    """
    if levels == 0:
        return ()
    unfolding = Unfolding(slots=SLOTS, width=width, hidden=512, rank=32)
    return (Segment("melody", levels, codebook_size, 1 / HOP_SECONDS, optional=True, unfolding=unfolding),)
