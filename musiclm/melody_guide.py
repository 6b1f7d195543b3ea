"""A recording whose melody is to be followed, as codes (MusicLM, appendix C).

waveform → windows of 4 s, one every 3 s → embeddings [W, 192] → codes [1, 24, W]
"""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from musiclm.course import MELODY_HOP
from musiclm.request import Recording, check_sounding, read_mono
from musiclm.tokenizers.rvq import ResidualQuantizer


class MelodyEmbedding(Protocol):
    """What the melody of a window is, whatever plays it."""

    sample_rate: int  # Hz

    def embed_windows(self, waveform: Tensor, *, hop_seconds: float) -> Tensor:
        """Embeddings [W, D] of one recording [1, 1, L], W = ceil(seconds / hop_seconds)."""
        ...


@dataclass(frozen=True)
class MelodyTokenizer:
    """Recordings to melody codes."""

    embedding: MelodyEmbedding
    quantizer: ResidualQuantizer

    def codes(self, recording: Recording) -> Tensor:
        """Codes [1, 24, W] of a recording, the w-th of the seconds from 3 w on.

        Raises:
            FileNotFoundError, ValueError: it is no audio, or silent.
        """
        audio = read_mono("melody", recording, self.embedding.sample_rate)
        check_sounding("melody", audio)
        vectors = self.embedding.embed_windows(audio.waveform[None], hop_seconds=MELODY_HOP)  # [W, D]
        return self.quantizer.encode(vectors).T[None]
