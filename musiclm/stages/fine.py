"""Fine stage: the first acoustic levels to the remaining ones (MusicLM, sec. 3.2).

In: `coarse` [B, 4, T], acoustic levels 1-4. Out: levels 5-12, `fine` [B, 8, T], both at 50 Hz. Its windows
are short (3 s) and independent, so that all windows of a piece make one batch.
"""

from collections.abc import Sequence

from musiclm.stages.layout import Layout, Pattern
from musiclm.stages.segments import music_segment
from musiclm.stages.stage import Stage
from musiclm.stages.streams import MUSICLM, Stream
from musiclm.stages.transformer import TransformerConfig


class Fine(Stage):
    """The stage that adds the detail.

    Args:
        transformer: its sizes.
        pattern: `flatten` or `delay`.
        lookahead: frames of the coarse levels seen ahead (`delay` only).
        num_coarse: acoustic levels given.
        streams: there are, `acoustic` among them: it generates the levels that follow.
    """

    def __init__(
        self,
        transformer: TransformerConfig,
        *,
        pattern: Pattern = "flatten",
        lookahead: int = 0,
        num_coarse: int = 4,
        streams: Sequence[Stream] = MUSICLM,
    ) -> None:
        segments = (
            music_segment(streams, "acoustic", name="coarse", levels=num_coarse),
            music_segment(streams, "acoustic", name="fine", first_level=num_coarse),
        )
        super().__init__(Layout(segments, pattern, lookahead=lookahead), transformer)
