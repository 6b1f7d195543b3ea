"""Fine stage: the first acoustic levels to the remaining ones (MusicLM, sec. 3.2).

In: `coarse` [B, 4, T], acoustic levels 1-4. Out: levels 5-12, `fine` [B, 8, T], both at 50 Hz. Its windows
are short (3 s) and independent, so that all windows of a piece make one batch.
"""

from musiclm.stages.layout import Layout, Pattern, Segment
from musiclm.stages.stage import Stage
from musiclm.stages.transformer import TransformerConfig


class Fine(Stage):
    """The stage that adds the detail.

    Args:
        transformer: its sizes.
        pattern: `flatten` or `delay`.
        lookahead: frames of the coarse levels seen ahead (`delay` only).
        num_coarse: acoustic levels given.
        acoustic_levels: acoustic levels in all; it generates those that follow.
        acoustic_codebook_size: entries per acoustic codebook.
        acoustic_frame_rate: acoustic frames per second.
    """

    def __init__(
        self,
        transformer: TransformerConfig,
        *,
        pattern: Pattern = "flatten",
        lookahead: int = 0,
        num_coarse: int = 4,
        acoustic_levels: int = 12,
        acoustic_codebook_size: int = 1024,
        acoustic_frame_rate: float = 50.0,
    ) -> None:
        size, rate = acoustic_codebook_size, acoustic_frame_rate
        segments = (
            Segment("coarse", num_coarse, size, rate, source="acoustic"),
            Segment(
                "fine", acoustic_levels - num_coarse, size, rate, source="acoustic", first_level=num_coarse
            ),
        )
        super().__init__(Layout(segments, pattern, lookahead=lookahead), transformer)
