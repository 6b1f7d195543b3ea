"""What a token store's row holds of a stretch of its recording: tokens, and embeddings.

Apart from `token_crops`, which imports Lightning: an audit or a report on a store does without it.
"""

import math

import numpy as np

from musiclm.data.store import TokenRow
from musiclm.stages.layout import ABSENT
from musiclm.stages.streams import Stream


def tokens_of(kept: np.ndarray) -> np.ndarray:
    """Tokens int64 of those that a store keeps as uint16, ABSENT where they are."""
    tokens: np.ndarray = kept.astype(np.int64)
    tokens[kept == np.uint16(ABSENT % 2**16)] = ABSENT
    return tokens


def crop_embedding(row: TokenRow, stream: Stream, *, start: float, seconds: float) -> np.ndarray:
    """The embedding [D] of a stretch: mean of the windows whose middle lies in it, or the nearest one.

    The paper averages windows over the crop (sec. 4.1); so do we, but our crops may be shorter than a window,
    so it may reach beyond them by half its length on either side.
    """
    windows = row.streams[stream.name]
    middles = np.arange(len(windows)) / stream.rate + stream.window / 2
    inside = (middles >= start) & (middles <= start + seconds)
    if not inside.any():
        inside[np.abs(middles - (start + seconds / 2)).argmin()] = True
    mean = windows[inside].astype(np.float32).mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-8)


def crop_windows(row: TokenRow, stream: Stream, *, start: float, seconds: float) -> np.ndarray:
    """The embeddings [W, D] of a stretch, a window every hop from its start, W = ceil(seconds / hop)."""
    windows = row.streams[stream.name]
    begins = start + stream.hop * np.arange(math.ceil(seconds / stream.hop))
    rows = np.round(begins * stream.rate).astype(np.int64)
    return windows[rows.clip(max=len(windows) - 1)].astype(np.float32)
