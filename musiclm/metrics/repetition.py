"""Does music loop? How much of it comes again, exactly, after a while."""

import math

import torch
from torch import Tensor

from musiclm.metrics.fidelity import MelSpectrogram, log10

LEAST_SECONDS = 1.0  # of a loop: what comes back sooner is a beat
WINDOW_SECONDS = 0.046  # of a spectrum
BANDS = 40
QUIET = -3.0  # log10 of a magnitude over the largest: what lies 60 dB below it does not count
EDGE = 4  # frames at either end, which hear what is not there
STEADY = 1e-3  # mean square of the differences of log10 magnitudes, below which nothing happens


def repetition(waveform: Tensor, sample_rate: int) -> float:
    """How like itself a waveform [L] is at its best shift of a second or more: 1 for a loop, 0 for no return.

    The correlation of the log-mel spectrogram with itself, each band about its mean, so that timbre does not
    count; the shift is at most half the length. Sound in which nothing happens repeats itself. NaN for less
    than two seconds.
    """
    window = 2 ** round(math.log2(WINDOW_SECONDS * sample_rate))
    hop = window // 4
    magnitudes = MelSpectrogram(sample_rate, window=window, hop=hop, bands=BANDS)(waveform[None, None])[0]
    frames = log10(magnitudes / magnitudes.max().clamp_min(1e-9)).clamp_min(QUIET)[
        :, EDGE:-EDGE
    ]  # [bands, T]
    frames = frames - frames.mean(dim=1, keepdim=True)
    count = frames.shape[1]
    first, last = round(LEAST_SECONDS * sample_rate / hop), count // 2
    if last < first:
        return float("nan")
    if frames.square().mean() < STEADY:
        return 1.0
    spectrum = torch.fft.rfft(frames, 2 * count)
    products = torch.fft.irfft(spectrum.abs().square().sum(dim=0), 2 * count)[:count]  # [shifts]
    power = torch.cat([torch.zeros(1), frames.square().sum(dim=0).cumsum(0)])
    shifts = torch.arange(first, last + 1)
    norms = (power[count - shifts] * (power[count] - power[shifts])).sqrt()  # of the parts that overlap
    return float((products[shifts] / norms.clamp_min(1e-12)).max().clamp(-1, 1))
