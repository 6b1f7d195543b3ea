"""Windows of a recording at a stride of a second: how a joint embedding sees audio of any length.

waveform [B, 1, L] -> windows [B, W, window_length] -> vectors -> [B, D] or, of one recording, [W, D]

MusicLM, sec. 4.1: 10 s windows at a stride of 1 s, their embeddings averaged over the crop. Audio shorter
than a window is repeated until it fills one.
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn
from torch.nn import functional

from musiclm.tokenizers.checks import check_waveform

STRIDE_SECONDS = 1.0  # MusicLM, sec. 4.1
WINDOWS_AT_ONCE = 16  # bounds memory on long recordings


class WindowEmbedding(nn.Module, ABC):
    """A joint embedding's way from audio of any length to vectors; a model says what it makes of windows."""

    sample_rate: int  # Hz
    window_seconds: float

    @torch.no_grad()
    def embed_audio(self, waveform: Tensor) -> Tensor:
        """Embeddings [B, D] of waveforms [B, 1, L]: the mean over each row's windows, back on the sphere."""
        windows = self._windows(waveform)  # [B, W, window_length]
        vectors = self._embed_some(windows.flatten(0, 1)).unflatten(0, windows.shape[:2])  # [B, W, D]
        return functional.normalize(vectors.mean(dim=1), dim=-1)

    @torch.no_grad()
    def embed_windows(self, waveform: Tensor) -> Tensor:
        """Embeddings [W, D] of one recording [1, 1, L], window `i` beginning at second `i`.

        W = floor(seconds - window_seconds) + 1, and 1 for a recording shorter than a window.
        """
        if waveform.shape[0] != 1:
            raise ValueError(f"expected one recording [1, 1, L], got {list(waveform.shape)}")
        return self._embed_some(self._windows(waveform)[0])

    @abstractmethod
    def _embed(self, windows: Tensor) -> Tensor:
        """Embeddings [N, D] on the unit sphere of windows [N, 1, window_length]."""

    def _windows(self, waveform: Tensor) -> Tensor:
        return windows_of(waveform, seconds=self.window_seconds, sample_rate=self.sample_rate)

    def _embed_some(self, windows: Tensor) -> Tensor:
        """Vectors [N, D] of windows [N, window_length]."""
        return torch.cat([self._embed(part[:, None]) for part in windows.split(WINDOWS_AT_ONCE)])


def windows_of(waveform: Tensor, *, seconds: float, sample_rate: int) -> Tensor:
    """Windows [B, W, window_length] at a stride of a second (a view where nothing had to be repeated)."""
    check_waveform(waveform)
    length = round(seconds * sample_rate)
    missing = length - waveform.shape[2]
    if missing > 0:
        waveform = waveform.tile(1, 1, 1 + -(-missing // waveform.shape[2]))[..., :length]
    return waveform[:, 0].unfold(1, length, round(STRIDE_SECONDS * sample_rate))
