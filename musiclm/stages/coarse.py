"""Coarse stage: semantic tokens to the first acoustic levels, p(A_t | A_<t, S, M) (MusicLM, sec. 3.2).

In: `mulan` [B, 12, 1], `semantic` [B, 1, T] at 25 Hz, and what other conditions it has learned, as `melody`
[B, 24, W], one window every 3 s (appendix C); each but `semantic` may be absent. Out: acoustic levels 1-4,
`coarse` [B, 4, 2T] at 50 Hz.
"""

from collections.abc import Sequence

from musiclm.stages.layout import Layout, Pattern
from musiclm.stages.segments import condition_segments, music_segment
from musiclm.stages.stage import Stage
from musiclm.stages.streams import MUSICLM, Stream
from musiclm.stages.transformer import TransformerConfig


class Coarse(Stage):
    """The stage that turns the music's course into sound.

    Args:
        transformer: its sizes.
        pattern: `flatten` or `delay`.
        lookahead: semantic frames seen ahead (`delay` only).
        broadcast: add the summed tokens of the whole clip to every step.
        num_coarse: acoustic levels it generates, from the first.
        streams: there are, `semantic` and `acoustic` among them.
        conditions: names of the others that it follows; None for all that say something about the music.
        unfolded_width: of the embeddings of conditions with long frames, as a melody's (`delay` only).
    """

    def __init__(
        self,
        transformer: TransformerConfig,
        *,
        pattern: Pattern = "flatten",
        lookahead: int = 0,
        broadcast: bool = False,
        num_coarse: int = 4,
        streams: Sequence[Stream] = MUSICLM,
        conditions: Sequence[str] | None = None,
        unfolded_width: int = 128,
    ) -> None:
        segments = (
            *condition_segments(streams, conditions, unfolded_width=unfolded_width),
            music_segment(streams, "semantic"),
            music_segment(streams, "acoustic", name="coarse", levels=num_coarse),
        )
        super().__init__(Layout(segments, pattern, lookahead=lookahead, broadcast=broadcast), transformer)
