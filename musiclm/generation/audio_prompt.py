"""A recording that music goes on from: its samples, and what is known of its end."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.generation.acoustic_decoder import AcousticDecoder
from musiclm.generation.request import AudioInput, check_sounding, read_mono
from musiclm.generation.settings import SemanticSettings
from musiclm.tokenizers.protocols import JointEmbedding, SemanticTokenizer

# Of its end, that say what it is like: the crop of the paper's semantic stage (MusicLM, sec. 4.1).
LIKENESS_SECONDS = 30.0


@dataclass(frozen=True)
class AudioPrompt:
    """A recording [1, L] at the decoder's rate.

    Args:
        audio: the whole of it.
        prefix: waveform [1, 1, P] of its end, whole frames of all clocks.
        semantic: tokens [1, 1, T] of the prefix.
    """

    audio: Audio
    prefix: Tensor
    semantic: Tensor

    @classmethod
    def read(
        cls,
        recording: AudioInput,
        decoder: AcousticDecoder,
        semantic: SemanticTokenizer,
        settings: SemanticSettings,
        device: torch.device,
    ) -> "AudioPrompt":
        """An audio prompt, and as much of its end as windows carry on from, on a device.

        Raises:
            FileNotFoundError, ValueError: it is no audio, or its end is silent.
        """
        audio = read_mono("recording to continue", recording, decoder.sample_rate)
        carried = max(settings.window - settings.stride, decoder.carried_seconds)
        unit = math.lcm(semantic.hop_length, decoder.hop_length)  # so that all tokens end where it does
        samples = min(round(carried * audio.sample_rate), audio.waveform.shape[1]) // unit * unit
        end = Audio(audio.waveform[:, -samples:], audio.sample_rate)
        check_sounding(f"recording to continue, in its last {end.seconds:.1f} s,", end)
        prefix = end.waveform[None].to(device)
        return cls(audio, prefix, semantic.encode(prefix)[:, None])

    def embed(self, joint: JointEmbedding) -> Tensor:
        """The joint embedding [1, D] of its end, in the place of words."""
        rate = self.audio.sample_rate
        last = Audio(self.audio.waveform[:, -round(LIKENESS_SECONDS * rate) :], rate)
        return joint.embed_audio(last.resample(joint.sample_rate).waveform[None].to(self.prefix.device))
