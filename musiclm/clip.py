"""A recording that music goes on from: its samples, and the tokens of its end."""

import math
from dataclasses import dataclass

from torch import Tensor

from musiclm.audio import Audio
from musiclm.request import Recording, check_sounding, read_mono
from musiclm.settings import GenerationSettings
from musiclm.tokenizers.protocols import AcousticTokenizer, JointEmbedding, SemanticTokenizer
from musiclm.windows import Known

LIKENESS_SECONDS = (
    30.0  # of the end of a clip that say what it is like: the crop of the paper's semantic stage
)


@dataclass(frozen=True)
class Clip:
    """A recording [1, L] at the codec's rate, and what is known of its end."""

    audio: Audio
    end: Known

    @classmethod
    def read(
        cls,
        recording: Recording,
        acoustic: AcousticTokenizer,
        semantic: SemanticTokenizer,
        settings: GenerationSettings,
    ) -> "Clip":
        """A clip, and the tokens of as much of its end as windows carry on from.

        Raises:
            FileNotFoundError, ValueError: it is no audio, or its end is silent.
        """
        audio = read_mono("clip to continue", recording, acoustic.sample_rate)
        carried = max(settings.semantic_window - settings.semantic_stride, settings.coarse_carry)
        unit = math.lcm(
            semantic.hop_length, acoustic.hop_length
        )  # so that all tokens end where the clip does
        samples = min(round(carried * audio.sample_rate), audio.waveform.shape[1]) // unit * unit
        end = Audio(audio.waveform[:, -samples:], audio.sample_rate)
        check_sounding(f"clip to continue, in its last {end.seconds:.1f} s,", end)
        waveform = end.waveform[None]
        return cls(audio, Known(semantic.encode(waveform)[:, None], acoustic.encode(waveform), waveform))

    def embed(self, mulan: JointEmbedding) -> Tensor:
        """The MuLan embedding [1, D] of its end, in the place of words."""
        rate = self.audio.sample_rate
        last = Audio(self.audio.waveform[:, -round(LIKENESS_SECONDS * rate) :], rate)
        return mulan.embed_audio(last.resample(mulan.sample_rate).waveform[None])
