"""A recording whose melody is to be followed, as codes (MusicLM, appendix C).

waveform → windows of 4 s, one every 3 s → embeddings [W, 192] → codes [1, 24, W]
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from musiclm.audio import Audio
from musiclm.generation.request import AudioInput, check_sounding, read_mono
from musiclm.tokenizers.melody import HOP_SECONDS, MelodyEmbedding
from musiclm.tokenizers.rvq import ResidualQuantizer

LOWEST, HIGHEST = 80.0, 4_000.0  # Hz; tunes lie between
SPECTRUM, HOP = 4096, 1024  # samples
SMOOTH = 41  # bins of a spectrum, over which its slope is evened out
LOUD = 1e-3  # of the loudest moment's power
# Spectral flatness above which a moment has no pitch. Noise of any colour has e^-0.577 = 0.56, a hum under as
# much noise 0.4, drums alone 0.2 to 0.5, music 0.1.
PITCHLESS = 0.52


@dataclass(frozen=True)
class MelodyTokenizer:
    """Recordings to melody codes."""

    embedding: MelodyEmbedding
    quantizer: ResidualQuantizer
    device: torch.device = torch.device("cpu")  # noqa: RUF009  # where both of them are

    def codes(self, recording: AudioInput) -> Tensor:
        """Codes [1, 24, W] of a recording, the w-th of the seconds from 3 w on.

        Raises:
            FileNotFoundError, ValueError: it is no audio, silent, or nothing but noise.
        """
        audio = read_mono("melody", recording, self.embedding.sample_rate)
        check_sounding("melody", audio)
        check_pitched(audio)
        waveform = audio.waveform[None].to(self.device)  # [1, 1, L]
        vectors = self.embedding.embed_windows(waveform, hop_seconds=HOP_SECONDS)  # [W, D]
        return self.quantizer.encode(vectors).T[None]


def check_pitched(audio: Audio) -> None:
    """Raise ValueError for noise: hardly a moment of it has a pitch."""
    window = torch.hann_window(SPECTRUM, device=audio.waveform.device)
    spectrum = torch.stft(audio.waveform[0], SPECTRUM, HOP, window=window, return_complex=True)
    spectrum = spectrum.abs().square()  # [bins, moments]
    bin_width = audio.sample_rate / SPECTRUM
    power = spectrum[round(LOWEST / bin_width) : round(HIGHEST / bin_width)].T + 1e-12  # [moments, bins]
    slope = functional.avg_pool1d(power, SMOOTH, stride=1, padding=SMOOTH // 2, count_include_pad=False)
    even = power / slope
    flatness = even.log().mean(dim=1).exp() / even.mean(dim=1)  # [moments]
    loud = spectrum.sum(dim=0) > LOUD * spectrum.sum(dim=0).max()
    if flatness[loud].quantile(0.1) > PITCHLESS:
        raise ValueError("expected a melody with a pitch, got noise: sing, hum, whistle or play it")
