"""What a tempo is told by, and how far a tempo that was heard is from the true one.

A tempogram says how strongly onsets repeat after each period, in five bands of frequency, and how strongly
changes of the notes do, in three registers: a bar has a chord. Its periods lie on a logarithmic grid, so that
music played faster has the same tempogram, moved.
"""

import math
from functools import cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from musiclm.metrics.analysis import librosa
from musiclm.metrics.pitch_classes import HOP_LENGTH, REGISTERS, pitch_classes

WINDOW, HOP_SECONDS = 1024, 0.01  # samples of a spectrum at 24 kHz; 100 of them a second
MELS, ONSET_BANDS = 40, 5
BANDS = ONSET_BANDS + len(REGISTERS)
LOWEST, HIGHEST = 30.0, 11_000.0  # Hz
FLOOR = 1e-3  # of a mel band's magnitude, below which nothing is heard
STEPS = 36  # periods in an octave
SHORTEST, OCTAVES = 1 / 16, 6  # seconds of the shortest period, and octaves from it on: up to 4 s
PERIODS = SHORTEST * 2 ** (np.arange(OCTAVES * STEPS + 1) / STEPS)  # seconds
CLOSE = 0.04  # of the tempo: nearer, it is right (MIREX's tolerance)
OCTAVE_ERRORS = (2, 1 / 2, 3, 1 / 3, 3 / 2, 2 / 3)  # what a listener may count instead of the beat

Verdict = Literal["right", "octave", "wrong"]
TempoClass = Literal["slow", "moderate", "fast", ""]
SLOW_BELOW, FAST_FROM = 89.0, 122.0  # bpm: halfway between the ranges that captions have words for


def tempogram(waveform: Tensor, sample_rate: int) -> Tensor:
    """The autocorrelation [BANDS, len(PERIODS)] of what begins in a waveform [L].

    Raises:
        ValueError: the waveform is no longer than the longest period.
    """
    hop = round(HOP_SECONDS * sample_rate)
    if len(waveform) < hop / HOP_SECONDS * PERIODS[-1] + WINDOW:
        raise ValueError(
            f"expected more than {PERIODS[-1]:g} s of music, got {len(waveform) / sample_rate:.1f} s"
        )
    spectrum = torch.stft(
        waveform, WINDOW, hop, window=torch.hann_window(WINDOW), return_complex=True
    ).abs()  # [bins, T]
    levels = torch.log(_mels(sample_rate) @ spectrum + FLOOR)  # [MELS, T]
    onsets = _rises(levels).unflatten(0, (ONSET_BANDS, -1)).mean(dim=1)  # [ONSET_BANDS, T - 1]
    changes = _rises(pitch_classes(waveform, sample_rate)).sum(dim=1)  # [3, t]
    rates = (1 / HOP_SECONDS, sample_rate / HOP_LENGTH)
    return torch.cat([_repetition(*each) for each in zip((onsets, changes), rates, strict=True)])


def _rises(levels: Tensor) -> Tensor:
    """How much each level [..., T] rises from moment to moment: [..., T - 1]."""
    return (levels[..., 1:] - levels[..., :-1]).clamp(min=0)


def _repetition(envelopes: Tensor, rate: float) -> Tensor:
    """The autocorrelation [bands, len(PERIODS)] of envelopes [bands, T] with so many values a second."""
    envelopes = envelopes - envelopes.mean(dim=1, keepdim=True)
    length = envelopes.shape[1]
    power = torch.fft.rfft(envelopes, 2 * length).abs().square()
    overlap = torch.arange(length, 0, -1) / length
    correlation = torch.fft.irfft(power)[:, :length] / overlap
    correlation = correlation / (correlation[:, :1] + 1e-6)
    lags = np.arange(length) / rate
    bands = [np.interp(PERIODS, lags, band) for band in correlation.numpy()]
    return torch.from_numpy(np.stack(bands)).float()


@cache
def _mels(sample_rate: int) -> Tensor:
    return torch.from_numpy(
        librosa().filters.mel(sr=sample_rate, n_fft=WINDOW, n_mels=MELS, fmin=LOWEST, fmax=HIGHEST)
    )


def judge(heard: float, true: float) -> Verdict:
    """Whether a tempo in bpm is right to 4 %, is so of its double, half, third and the like, or is wrong."""
    if abs(heard / true - 1) <= CLOSE:
        return "right"
    return "octave" if any(abs(heard / (true * by) - 1) <= CLOSE for by in OCTAVE_ERRORS) else "wrong"


def tempo_class(bpm: float) -> TempoClass:
    """What people call a tempo; nothing, where there is none (NaN)."""
    if math.isnan(bpm):
        return ""
    return "slow" if bpm < SLOW_BELOW else "fast" if bpm >= FAST_FROM else "moderate"
