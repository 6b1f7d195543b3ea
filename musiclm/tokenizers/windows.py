"""Recordings of any length, tokenized window by window: memory does not grow with what is computed from them.

What a frame says depends on what is near it. So each window is computed with some frames of context on either
side, and of the outcome only the window's own frames are kept.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Window:
    """Frames `begin` … `end` of a recording; `start` … `stop` are the window's own, the rest context."""

    begin: int
    end: int
    start: int
    stop: int

    def cut(self, waveform: Tensor, hop_length: int) -> Tensor:
        """All its samples [B, C, l] of a waveform [B, C, L] (a view)."""
        return waveform[..., self.begin * hop_length : self.end * hop_length]

    def own(self, frames: Tensor, *, dim: int) -> Tensor:
        """Its own frames, of those that were computed from all its samples (a view)."""
        return frames.narrow(dim, self.start - self.begin, self.stop - self.start)


def windows(frames: int, size: int, overlap: int) -> Iterator[Window]:
    """Windows of `size` frames whose own frames, in order, are all `frames`; one of a shorter recording.

    Every own frame has `overlap` frames or more of context on either side, unless the recording ends there.
    The last window ends with the recording and is as long as the others, so that it has no less context.
    """
    for first in range(0, max(frames - 2 * overlap, 1), size - 2 * overlap):
        begin = max(min(first, frames - size), 0)
        end = min(begin + size, frames)
        yield Window(
            begin, end, start=first + overlap if first else 0, stop=frames if end == frames else end - overlap
        )


def join(pieces: Iterable[Tensor], frames: int) -> Tensor:
    """Pieces [B, t, ...] that follow each other as one tensor [B, frames, ...].

    torch.cat would hold all pieces beside the outcome, twice what is needed.
    """
    place = 0
    whole: Tensor | None = None
    for piece in pieces:
        if whole is None:
            whole = piece.new_empty(piece.shape[0], frames, *piece.shape[2:])
        whole[:, place : place + piece.shape[1]] = piece
        place += piece.shape[1]
    assert whole is not None
    return whole
