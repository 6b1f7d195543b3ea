"""Long recordings in pieces: a file of any length takes the memory of a piece.

An album or a night's mix as one file becomes a row of the token store for every hour of it. The pieces have
the file's captions and are on its side of the split.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import replace

from musiclm.audio import Audio
from musiclm.data.sources import Recording

LONGEST = 7200.0  # seconds that are read at once: two hours, 0.7 GB as a waveform at 24 kHz
PIECE = 3600.0  # seconds; a longer recording is cut into pieces of at most this


def in_pieces(recordings: Iterable[Recording]) -> list[Recording]:
    """The recordings, those of more than two hours as pieces of equal length.

    A piece's id is the recording's with the second at which it begins, `mix@3600`.
    """
    pieces = []
    for recording in recordings:
        count = math.ceil(recording.seconds / PIECE) if recording.seconds > LONGEST else 1
        if count == 1:
            pieces.append(recording)
            continue
        starts = [round(number * recording.seconds / count) for number in range(count)]
        ends = [*starts[1:], recording.seconds]
        pieces += [
            replace(recording, id=f"{recording.id}@{start}", start=float(start), seconds=end - start)
            for start, end in zip(starts, ends, strict=True)
        ]
    return pieces


def load(recording: Recording, sample_rate: int, *, warn: Callable[[str], None] | None = None) -> Audio:
    """The mono sound of a recording, or of a piece; arguments and errors are those of `Audio.load_mono`."""
    if recording.start is None:
        return Audio.load_mono(recording.path, sample_rate, warn=warn)  # to its end, whatever the header says
    return Audio.load_mono(
        recording.path, sample_rate, start=recording.start, seconds=recording.seconds, warn=warn
    )
