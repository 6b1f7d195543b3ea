"""How sharply notes and strokes begin."""

import numpy as np
import torch
from torch import Tensor

from musiclm.metrics.analysis import librosa

HOP_SECONDS = 0.002
LEVEL_SECONDS = 0.006  # that a level is taken over
RISE_SECONDS = 0.01  # over which the rise of the level is taken
NEAR_SECONDS = 0.06  # on either side of an onset
LEAST = (
    3.0  # dB that the level has risen by when something has begun; other changes of sound are no beginnings
)
QUIET = 1e-6  # of the loudest power, -60 dB: a beginning from silence does not rise without end


def attack_sharpness(waveform: Tensor, sample_rate: int) -> float:
    """Median over the onsets of a waveform [L] of the steepest rise of its level there, in dB per 10 ms.

    The level is that of the waveform's slope, so that a bass does not hide what is struck above it. NaN where
    nothing begins.
    """
    hop, span = round(HOP_SECONDS * sample_rate), round(LEVEL_SECONDS * sample_rate)
    slope = waveform.diff(prepend=waveform[:1])
    power = (
        torch.nn.functional.pad(slope.square(), (span // 2, span - span // 2)).unfold(0, span, hop).mean(1)
    )
    if power.max() <= 0:
        return float("nan")
    level = 10 * (power / power.max() + QUIET).log10()  # [moments]
    over = round(RISE_SECONDS / HOP_SECONDS)
    rise = level[over:] - level[:-over]  # in dB per RISE_SECONDS
    onsets = librosa().onset.onset_detect(y=waveform.numpy(), sr=sample_rate, hop_length=256, units="time")
    near = round(NEAR_SECONDS / HOP_SECONDS)
    steepest = []
    for onset in onsets:
        at = round(float(onset) / HOP_SECONDS)
        around = slice(max(at - near, 0), at + near)
        if len(rise[around]) and level[around].diff().cumsum(0).max() >= LEAST:
            steepest.append(float(rise[around].max()))
    return float(np.median(steepest)) if steepest else float("nan")
