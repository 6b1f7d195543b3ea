"""A recording whose melody is to be followed, as codes (MusicLM, appendix C).

waveform → windows of 4 s, one every 3 s → embeddings [W, 192] → codes [1, 24, W]
"""

from dataclasses import dataclass

from torch import Tensor

from musiclm.request import Recording, check_sounding, read_mono
from musiclm.stages.melody import HOP_SECONDS
from musiclm.tokenizers.melody import MelodyEmbedding
from musiclm.tokenizers.rvq import ResidualQuantizer


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
        vectors = self.embedding.embed_windows(audio.waveform[None], hop_seconds=HOP_SECONDS)  # [W, D]
        return self.quantizer.encode(vectors).T[None]
