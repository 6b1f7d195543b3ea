"""Whether music has a beat at all: how strongly its onsets repeat at the pace of one.

It needs no label and no training: a click track is near 1, noise and held chords are near 0.
"""

import numpy as np
from torch import Tensor

from musiclm.metrics.analysis import librosa

SLOWEST, FASTEST = 60.0, 240.0  # beats per minute
HOP_LENGTH = 256  # samples between two values of the envelope
# Variance of the envelope (dB²) below which nothing is struck: held tones that beat have up to 0.02, the
# stillest ambient pieces of the reference corpus 0.03, half of all pieces more than 1.
STILL = 0.025


def pulse(waveform: Tensor, sample_rate: int) -> float:
    """The highest peak of the onset envelope's autocorrelation between 60 and 240 bpm, from 0 to 1.

    The autocorrelation sums over what overlaps, divided by that at lag 0: over 10 s a steady click track at
    60 bpm has about 0.85, at 120 bpm 0.95. Silence, held tones and what is shorter than two seconds have 0.

    Args:
        waveform: [L].
        sample_rate: Hz.
    """
    envelope = librosa().onset.onset_strength(y=waveform.numpy(), sr=sample_rate, hop_length=HOP_LENGTH)
    rate = sample_rate / HOP_LENGTH  # values per second
    first, last = int(rate * 60 / FASTEST), int(np.ceil(rate * 60 / SLOWEST))  # lags
    if len(envelope) < 2 * last or envelope.var() < STILL:
        return 0.0
    correlation = librosa().autocorrelate(envelope - envelope.mean())
    correlation = correlation / correlation[0]  # [lags]
    inside = correlation[first : last + 1]
    peaks = (inside >= correlation[first - 1 : last]) & (inside >= correlation[first + 1 : last + 2])
    return float(np.clip(inside[peaks].max(initial=0.0), 0.0, 1.0))
