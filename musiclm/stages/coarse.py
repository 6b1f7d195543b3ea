"""Coarse stage: semantic tokens to the first acoustic levels, p(A_t | A_<t, S, M) (MusicLM, sec. 3.2).

In: `mulan` [B, 12, 1], `semantic` [B, 1, T] at 25 Hz and, where the stage has learned it, `melody`
[B, 24, W], one window every 3 s (appendix C); `mulan` and `melody` may be absent. Out: acoustic levels 1-4,
`coarse` [B, 4, 2T] at 50 Hz.
"""

from musiclm.stages.layout import Layout, Pattern, Segment
from musiclm.stages.melody import melody_segments
from musiclm.stages.stage import Stage
from musiclm.stages.transformer import TransformerConfig


class Coarse(Stage):
    """The stage that turns the music's course into sound.

    Args:
        transformer: its sizes.
        pattern: `flatten` or `delay`.
        lookahead: semantic frames seen ahead (`delay` only).
        broadcast: add the summed MuLan tokens to every step.
        mulan_levels: MuLan tokens per clip.
        mulan_codebook_size: entries per MuLan codebook.
        melody_levels: melody tokens per 3 s; 0 for a stage that knows no melody.
        melody_codebook_size: entries per melody codebook.
        melody_width: of the melody tokens' embeddings (`delay` only).
        semantic_codebook_size: semantic centroids.
        semantic_frame_rate: semantic tokens per second.
        num_coarse: acoustic levels it generates, from the first.
        acoustic_codebook_size: entries per acoustic codebook.
        acoustic_frame_rate: acoustic frames per second.
    """

    def __init__(
        self,
        transformer: TransformerConfig,
        *,
        pattern: Pattern = "flatten",
        lookahead: int = 0,
        broadcast: bool = False,
        mulan_levels: int = 12,
        mulan_codebook_size: int = 1024,
        melody_levels: int = 0,
        melody_codebook_size: int = 512,
        melody_width: int = 128,
        semantic_codebook_size: int = 1024,
        semantic_frame_rate: float = 25.0,
        num_coarse: int = 4,
        acoustic_codebook_size: int = 1024,
        acoustic_frame_rate: float = 50.0,
    ) -> None:
        segments = (
            Segment("mulan", mulan_levels, mulan_codebook_size, 0.0, optional=True),
            *melody_segments(melody_levels, melody_codebook_size, width=melody_width),
            Segment("semantic", 1, semantic_codebook_size, semantic_frame_rate),
            Segment("coarse", num_coarse, acoustic_codebook_size, acoustic_frame_rate, source="acoustic"),
        )
        super().__init__(Layout(segments, pattern, lookahead=lookahead, broadcast=broadcast), transformer)
