"""The segments of a stage, from the streams that it learns.

A condition of the whole clip stands in the prefix, as MuLan's tokens do (MusicLM, sec. 3.2). One with a clock
is laid on the steps of its time in the `delay` pattern; where its frames are long, as a melody's, each of
which says what sounds in the 3 s from its beginning on (appendix C), they are unfolded first, so that a step
is told what is due then. Flattened, it stands in the prefix, as in the paper.
"""

from collections.abc import Sequence

from musiclm.stages.conditions import Unfolding
from musiclm.stages.layout import Segment
from musiclm.stages.streams import MUSIC, Stream, by_name

LONG = 1.0  # seconds of a frame from which on it is unfolded
MOST_TOGETHER = 2**14  # entries of a table of combinations
SLOT = 0.12  # seconds that it is unfolded to: a sixteenth at 125 beats per minute


def music_segment(
    streams: Sequence[Stream],
    source: str,
    *,
    name: str | None = None,
    first_level: int = 0,
    levels: int | None = None,
) -> Segment:
    """The segment of a stream, or of some of its levels, that is never absent.

    Args:
        streams: there are.
        source: name of the stream.
        name: of the segment, where it is another.
        first_level: of the stream's levels, the first of the segment.
        levels: how many; all that follow by default.

    Raises:
        ValueError: there is no such stream.
    """
    stream = by_name(streams).get(source)
    if stream is None:
        raise ValueError(f"expected the stream {source}, got {[each.name for each in streams]}")
    count = stream.levels - first_level if levels is None else levels
    key = source if name else None
    return Segment(name or source, count, stream.size, stream.rate, source=key, first_level=first_level)


def condition_segments(
    streams: Sequence[Stream],
    conditions: Sequence[str] | None,
    *,
    unfolded_width: int,
    combined: Sequence[str] = (),
) -> tuple[Segment, ...]:
    """The segments of what is said about the music; each may be absent.

    Args:
        streams: there are.
        conditions: names of those to follow; None for all that there are.
        unfolded_width: of the embeddings of long frames in the `delay` pattern.
        combined: names of those with a clock whose levels mean something together; of one that is not there
            it says nothing.

    Raises:
        ValueError: one is not there, or not tokens.
    """
    known = {
        name: stream
        for name, stream in by_name(streams).items()
        if stream.kind == "tokens" and name not in MUSIC
    }
    if missing := [name for name in conditions or () if name not in known]:
        raise ValueError(f"expected conditions that there are tokens of, {list(known)}, got {missing[0]!r}")
    chosen = [stream for name, stream in known.items() if conditions is None or name in conditions]
    return tuple(_condition(stream, unfolded_width, stream.name in combined) for stream in chosen)


def _condition(stream: Stream, width: int, combined: bool) -> Segment:
    unfolding = None
    if stream.rate and (seconds := 1 / stream.rate) > LONG:
        unfolding = Unfolding(slots=round(seconds / SLOT), width=width, hidden=512, rank=32)
    if combined and (not stream.rate or unfolding or stream.size**stream.levels > MOST_TOGETHER):
        raise ValueError(
            f"expected combined conditions with a clock, short frames and {MOST_TOGETHER:,} entries at most, "
            f"got {stream.name} of {stream.levels} levels of {stream.size} at {stream.rate:g} Hz"
        )
    return Segment(
        stream.name,
        stream.levels,
        stream.size,
        stream.rate,
        optional=True,
        unfolding=unfolding,
        combined=combined,
    )
