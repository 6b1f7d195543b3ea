"""Semantic stage: MuLan tokens to semantic tokens, p(S_t | S_<t, M) (MusicLM, sec. 3.2).

In: `mulan` [B, 12, 1], the audio's in training, the text's in generation, and where the stage has learned it,
`melody` [B, 24, W], one window every 3 s (appendix C); either may be absent. Out: `semantic` [B, 1, T] at
25 Hz. With one level, both patterns have one step per token.
"""

from musiclm.stages.layout import Layout, Pattern, Segment
from musiclm.stages.melody import melody_segments
from musiclm.stages.stage import Stage
from musiclm.stages.transformer import TransformerConfig


class Semantic(Stage):
    """The stage that plans the music's course.

    Args:
        transformer: its sizes.
        pattern: `flatten` or `delay`.
        broadcast: add the summed MuLan tokens to every step.
        mulan_levels: MuLan tokens per clip.
        mulan_codebook_size: entries per MuLan codebook.
        melody_levels: melody tokens per 3 s; 0 for a stage that knows no melody.
        melody_codebook_size: entries per melody codebook.
        melody_width: of the melody tokens' embeddings (`delay` only).
        semantic_codebook_size: semantic centroids.
        semantic_frame_rate: semantic tokens per second.
    """

    def __init__(
        self,
        transformer: TransformerConfig,
        *,
        pattern: Pattern = "flatten",
        broadcast: bool = False,
        mulan_levels: int = 12,
        mulan_codebook_size: int = 1024,
        melody_levels: int = 0,
        melody_codebook_size: int = 512,
        melody_width: int = 128,
        semantic_codebook_size: int = 1024,
        semantic_frame_rate: float = 25.0,
    ) -> None:
        segments = (
            Segment("mulan", mulan_levels, mulan_codebook_size, 0.0, optional=True),
            *melody_segments(melody_levels, melody_codebook_size, width=melody_width),
            Segment("semantic", 1, semantic_codebook_size, semantic_frame_rate),
        )
        super().__init__(Layout(segments, pattern, broadcast=broadcast), transformer)
