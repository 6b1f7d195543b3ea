"""Windows of a recording at a stride of a second: how a joint embedding sees audio of any length.

waveform [B, 1, L] -> windows [B, W, window_length] -> the model's vectors -> [B, D] or, of one recording, [W,
D]

MusicLM, sec. 4.1: 10 s windows at a stride of 1 s, their embeddings averaged over the crop. Audio shorter
than a window is repeated until it fills one.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from musiclm.tokenizers.checks import check_waveform

STRIDE_SECONDS = 1.0  # MusicLM, sec. 4.1
WINDOWS_AT_ONCE = 16  # bounds memory on long recordings

Embed = Callable[[Tensor], Tensor]  # windows [N, 1, window_length] to vectors [N, D] on the unit sphere


def embed_mean(waveform: Tensor, embed: Embed, *, seconds: float, sample_rate: int) -> Tensor:
    """Embeddings [B, D] of waveforms [B, 1, L]: the average over each row's windows, back on the sphere."""
    windows = windows_of(waveform, seconds=seconds, sample_rate=sample_rate)  # [B, W, window_length]
    vectors = _embed(windows.flatten(0, 1), embed).unflatten(0, windows.shape[:2])  # [B, W, D]
    return functional.normalize(vectors.mean(dim=1), dim=-1)


def embed_each(waveform: Tensor, embed: Embed, *, seconds: float, sample_rate: int) -> Tensor:
    """Embeddings [W, D] of one recording [1, 1, L], window `i` beginning at second `i`.

    W = floor(length - seconds) + 1, and 1 for a recording shorter than a window.
    """
    if waveform.shape[0] != 1:
        raise ValueError(f"expected one recording [1, 1, L], got {list(waveform.shape)}")
    return _embed(windows_of(waveform, seconds=seconds, sample_rate=sample_rate)[0], embed)


def windows_of(waveform: Tensor, *, seconds: float, sample_rate: int) -> Tensor:
    """Windows [B, W, window_length] at a stride of a second (a view where nothing had to be repeated)."""
    check_waveform(waveform)
    length = round(seconds * sample_rate)
    missing = length - waveform.shape[2]
    if missing > 0:
        waveform = waveform.tile(1, 1, 1 + -(-missing // waveform.shape[2]))[..., :length]
    return waveform[:, 0].unfold(1, length, round(STRIDE_SECONDS * sample_rate))


def _embed(windows: Tensor, embed: Embed) -> Tensor:
    """Vectors [N, D] of windows [N, window_length]."""
    return torch.cat([embed(part[:, None]) for part in windows.split(WINDOWS_AT_ONCE)])
