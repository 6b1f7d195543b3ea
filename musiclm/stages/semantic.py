"""Semantic stage: MuLan tokens to semantic tokens, p(S_t | S_<t, M) (MusicLM, sec. 3.2).

In: `mulan` [B, 12, 1], the audio's in training, the text's in generation, and what other conditions it has
learned, as `melody` [B, 24, W], one window every 3 s (appendix C); each may be absent. Out: `semantic`
[B, 1, T] at 25 Hz. With one level, both patterns have one step per token.
"""

from collections.abc import Sequence

from musiclm.stages.layout import Layout, Pattern
from musiclm.stages.segments import condition_segments, music_segment
from musiclm.stages.stage import Stage
from musiclm.stages.streams import MUSICLM, Stream
from musiclm.stages.transformer import TransformerConfig


class Semantic(Stage):
    """The stage that plans the music's course.

    Args:
        transformer: its sizes.
        pattern: `flatten` or `delay`.
        broadcast: add the summed tokens of the whole clip to every step.
        streams: there are, `semantic` among them.
        conditions: names of the streams that it follows; None for all that say something about the music.
        unfolded_width: of the embeddings of conditions with long frames, as a melody's (`delay` only).
        combined: names of the conditions whose levels mean something together, as a chord's root and quality
            (`delay` only).
    """

    def __init__(
        self,
        transformer: TransformerConfig,
        *,
        pattern: Pattern = "flatten",
        broadcast: bool = False,
        streams: Sequence[Stream] = MUSICLM,
        conditions: Sequence[str] | None = None,
        unfolded_width: int = 128,
        combined: Sequence[str] = (),
    ) -> None:
        segments = (
            *condition_segments(streams, conditions, unfolded_width=unfolded_width, combined=combined),
            music_segment(streams, "semantic"),
        )
        super().__init__(Layout(segments, pattern, broadcast=broadcast), transformer)
