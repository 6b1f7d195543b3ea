"""A listener: what a clip has of the things a prompt asks for, told from its sound alone.

Tempo, key, lead, genre and drums by three small networks (`listener_networks.py`), the pulse by a formula.
The networks were trained on pieces of the reference corpus whose labels are exact (`listener_training.py`),
never on what a model makes, and share nothing with the models that they judge. Whoever states what they hear
states beside it what they hear in held-out pieces: more cannot be reached.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn

from musiclm.audio import Audio
from musiclm.bundle.component import digest
from musiclm.bundle.storage import unpack_weights
from musiclm.corpus.genres import GENRES
from musiclm.corpus.instruments import LEADS
from musiclm.corpus.theory import key_name
from musiclm.evaluate.listener_networks import KeyNetwork, TempoNetwork, TimbreNetwork
from musiclm.extras import check_package
from musiclm.metrics.analysis import librosa
from musiclm.metrics.pitch_classes import pitch_classes
from musiclm.metrics.pulse import pulse
from musiclm.metrics.tempo import tempogram

WEIGHTS = Path(__file__).with_name("listener.safetensors")
SAMPLE_RATE = 24_000  # Hz
SHORTEST = 5.0  # seconds: below, the slowest tempi cannot be heard
SILENCE = 1e-3  # peak below which nothing is heard
WINDOW, HOP_LENGTH, MELS = 1024, 480, 80  # samples, samples, bands of the log-mel spectrogram
LOWEST, HIGHEST, FLOOR = 40.0, 11_500.0, 1e-3  # Hz, Hz, of a band's magnitude
MEAN, DEVIATION = -4.0305, 1.7468  # of the training clips' log-mels
MODES = ("major", "minor")


@dataclass(frozen=True)
class Heard:
    """What is heard in a clip; in silence, nothing: NaN, None and empty words.

    Args:
        tempo: bpm.
        key: "C major", as the corpus names it.
        mode: "major" or "minor".
        lead, genre: by the corpus's names.
        drums: whether there are any.
        pulse: 0 … 1, see `metrics/pulse.py`.
    """

    tempo: float
    key: str
    mode: str
    lead: str
    genre: str
    drums: bool | None
    pulse: float


NOTHING = Heard(float("nan"), "", "", "", "", drums=None, pulse=0.0)


class Listener(nn.Module):
    """The three networks; `load` has them trained."""

    def __init__(self) -> None:
        super().__init__()
        self.tempo = TempoNetwork(kinds=len(GENRES) + 2)
        self.key = KeyNetwork()
        self.timbre = TimbreNetwork(len(LEADS), len(GENRES))

    @classmethod
    def load(cls) -> "Listener":
        """The listener that ships.

        Raises:
            ValueError: a package that it needs is not installed.
        """
        from safetensors.torch import load_file

        check_package("librosa")
        listener = cls()
        listener.load_state_dict(unpack_weights(load_file(WEIGHTS)))
        return listener.eval()

    @torch.inference_mode()
    def hear(self, audio: Audio) -> Heard:
        """What is heard in a clip of `SHORTEST` seconds or more.

        Raises:
            ValueError: it is too short, or not made of numbers.
        """
        if audio.seconds < SHORTEST:
            raise ValueError(f"expected {SHORTEST:g} s or more to listen to, got {audio.seconds:.1f} s")
        if not audio.waveform.isfinite().all():
            raise ValueError("expected a waveform of numbers, got some that are none (NaN or infinite)")
        waveform = audio.mono().resample(SAMPLE_RATE).waveform[0]  # [L]
        if waveform.abs().max() < SILENCE:
            return NOTHING
        mode, tonic = divmod(int(self.key(pitch_classes(waveform, SAMPLE_RATE)[None]).argmax()), 12)
        sound = log_mels(waveform)[None]
        lead, genre, drums = (int(logits.argmax()) for logits in self.timbre(sound))
        kind = self.timbre.kind(sound)
        return Heard(
            tempo=float(self.tempo.tempo(tempogram(waveform, SAMPLE_RATE)[None], kind)),
            key=key_name(tonic, MODES[mode]),
            mode=MODES[mode],
            lead=LEADS[lead],
            genre=tuple(GENRES)[genre],
            drums=bool(drums),
            pulse=pulse(waveform, SAMPLE_RATE),
        )


@cache
def fingerprint() -> str:
    """Of the listener that ships: figures of two listeners do not compare."""
    return digest(WEIGHTS.read_bytes())


def log_mels(waveform: Tensor) -> Tensor:
    """What the timbre is told by: a log-mel spectrogram [MELS, T] of a waveform [L], evened out."""
    window = torch.hann_window(WINDOW)
    spectrum = torch.stft(waveform, WINDOW, HOP_LENGTH, window=window, return_complex=True).abs()
    return (torch.log(_mels() @ spectrum + FLOOR) - MEAN) / DEVIATION


@cache
def _mels() -> Tensor:
    return torch.from_numpy(
        librosa().filters.mel(sr=SAMPLE_RATE, n_fft=WINDOW, n_mels=MELS, fmin=LOWEST, fmax=HIGHEST)
    )
