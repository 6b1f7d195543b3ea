"""How much of music is tones, beside what is neither tone nor stroke."""

import numpy as np
from torch import Tensor

from musiclm.metrics.analysis import librosa

WINDOW_SECONDS = 0.085  # of a spectrum, in which the tones of a chord stand apart
KERNEL = 17  # moments, and bins, that a median is taken over
MARGIN = 2.0  # by which one median must exceed the other for sound to be a tone or a stroke
FLOOR = 1e-6  # of the power: a ratio stays within ±60 dB


def harmonic_to_noise(waveform: Tensor, sample_rate: int) -> float:
    """Power of what lasts over the power of the noise, in dB, of a waveform [L]; NaN for silence.

    Harmonic-percussive-residual separation (Driedger, Müller and Disch, 2014): a bin belongs to a tone where
    the median over time exceeds the one over frequency by `MARGIN`, to a stroke the other way round, and else
    to the noise. Strokes count for neither side: drums are no noise.
    """
    size = 2 ** round(np.log2(WINDOW_SECONDS * sample_rate))
    if len(waveform) < size:
        return float("nan")
    spectrum = np.abs(librosa().stft(waveform.numpy(), n_fft=size, hop_length=size // 2))  # [bins, moments]
    tones, strokes = librosa().decompose.hpss(spectrum, kernel_size=KERNEL, margin=MARGIN)
    noise = spectrum - tones - strokes
    whole = float(np.square(spectrum).sum())
    if whole <= 0:
        return float("nan")
    powers = [float(np.square(part).sum()) + FLOOR * whole for part in (tones, noise)]
    return float(10 * np.log10(powers[0] / powers[1]))
