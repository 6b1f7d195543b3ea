"""Is all that sounds tuned to one grid? How closely the partials of music lie on steps of one semitone."""

import numpy as np
from torch import Tensor

from musiclm.metrics.analysis import librosa

LOWEST, HIGHEST = (
    100.0,
    2_500.0,
)  # Hz; below, a partial's place is not sure, and above, overtones leave the grid
WINDOW_SECONDS = (
    0.19  # of a spectrum, in which a partial at LOWEST is placed to a few hundredths of a semitone
)
PROMINENT = 0.1  # of the strongest partial of a moment; weaker ones are side lobes and noise


def on_one_grid(waveform: Tensor, sample_rate: int) -> float:
    """How closely the partials of a waveform [L] share one grid of semitones: 1 exactly, 0 not at all.

    The mean resultant length (Mardia and Jupp, 2000, sec. 2.3) of the partials' places between two steps,
    each weighted by its magnitude. Which grid it is does not count: music a quarter-tone flat is in tune with
    itself. NaN where no partial sounds.
    """
    size = 2 ** round(np.log2(WINDOW_SECONDS * sample_rate))
    if len(waveform) < size:
        return float("nan")
    pitches, magnitudes = librosa().piptrack(
        y=waveform.numpy(),
        sr=sample_rate,
        n_fft=size,
        hop_length=size // 2,
        fmin=LOWEST,
        fmax=HIGHEST,
        threshold=PROMINENT,
    )  # [bins, moments], zero where there is no peak
    heard = pitches > 0
    weights = magnitudes[heard].astype(np.float64)
    if weights.sum() <= 0:
        return float("nan")
    steps = 12 * np.log2(pitches[heard] / 440.0)
    return float(abs((weights * np.exp(2j * np.pi * steps)).sum()) / weights.sum())
