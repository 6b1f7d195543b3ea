"""What decoded samples can be wrong with, and how it is mended.

Files of floats may hold NaN, infinity, values of the range of integers, denormals; any file may hold a
constant offset, channels that cancel each other, or silence. `measure` looks at some samples of a recording
and says what to do with all of them (`Repair`), so that every stretch of it is treated alike.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LOUDEST = 4.0  # of full scale: 12 dB above it are the most that a hot master or a lossy decoder reaches
LARGEST = 2.0**32  # beyond the largest range of integers: no sample, whatever its scale
BROKEN_SHARE = 0.01  # of the samples: a recording with more of them is not used
INTEGER_SCALES = (2.0**15, 2.0**23, 2.0**31)  # full scale of 16, 24 and 32 bits
DENORMAL = 1e-20  # far below hearing; arithmetic with denormal numbers, below 1.2e-38, is slow
OFFSET = 0.15  # of full scale: a mean beyond is no part of the sound
OFFSET_SAMPLES = 1_000  # fewer have no mean to speak of
SILENCE = 1e-4  # -80 dB: a loudest sample below it
BROKEN = "samples that are NaN, infinite or beyond any range: read as silence"
TOO_MANY_BROKEN = "more than 1 % of its samples are NaN, infinite or beyond any range"
SILENT = "silent, or nearly: its loudest sample is below -80 dB"
CANCELLED = 0.05  # power of the mean over the mean power; opposite phase has 0, independent channels 1 / C


@dataclass(frozen=True)
class Repair:
    """What is done with every sample of a recording.

    Args:
        gain: factor of all samples.
        offset: [C], subtracted after the gain.
        weights: [C], of the channels in the mono mix.
        warnings: what will sound wrong, or was mended.
    """

    gain: float
    offset: np.ndarray
    weights: np.ndarray
    warnings: tuple[str, ...] = ()

    def apply(self, samples: np.ndarray) -> tuple[np.ndarray, int]:
        """Samples [L, C] as finite ones within ±LOUDEST, and how many of them were broken."""
        samples, broken = _without_broken(samples)
        if self.gain != 1.0:
            samples = samples * np.float32(self.gain)
        if self.offset.any():
            samples = samples - self.offset.astype(np.float32)
        samples = np.clip(samples, -LOUDEST, LOUDEST)
        samples[np.abs(samples) < DENORMAL] = 0.0
        return samples, broken

    def mono(self, samples: np.ndarray) -> np.ndarray:
        """The mono mix [L] of samples [L, C]."""
        return samples[:, 0] if samples.shape[1] == 1 else samples @ self.weights.astype(np.float32)


def measure(samples: np.ndarray) -> Repair:
    """What to do with a recording, by some of its samples [L, C].

    Raises:
        ValueError: too many of them are NaN, infinite, or beyond the range of anything.
    """
    whole, broken = _without_broken(samples)
    if broken > BROKEN_SHARE * samples.size:
        raise ValueError(TOO_MANY_BROKEN)
    warnings = []
    if broken:
        warnings.append(BROKEN)

    peak = float(np.abs(whole).max(initial=0.0))
    gain = _gain(peak)
    if gain != 1.0:
        warnings.append(f"samples of up to {peak:.3g} where 1 is full scale: scaled by {gain:.3g}")
    whole = whole * np.float64(gain)  # [L, C]

    offset = whole.mean(axis=0) if len(whole) >= OFFSET_SAMPLES else np.zeros(whole.shape[1])
    offset = np.where(np.abs(offset) > OFFSET, offset, 0.0)  # [C]
    if offset.any():
        warnings.append(f"a constant offset of {offset[np.abs(offset).argmax()]:.2g} of full scale: removed")
    whole = whole - offset

    if np.abs(whole).max(initial=0.0) < SILENCE:
        warnings.append(SILENT)
    weights = mono_weights(whole)
    if len(set(weights)) > 1:
        warnings.append("channels in opposite phase, which cancel each other: one of them is used")
    return Repair(gain, offset, weights, tuple(warnings))


def mono_weights(samples: np.ndarray) -> np.ndarray:
    """Weights [C] that mix channels [L, C] to one: their mean, or the loudest where the mean cancels."""
    channels = samples.shape[1]
    equal = np.full(channels, 1.0 / channels)
    power = np.square(samples).mean(axis=0) if len(samples) else np.zeros(channels)  # [C]
    if channels == 1 or not power.any():
        return equal
    if np.square(samples @ equal).mean() >= CANCELLED * power.mean():
        return equal
    return np.eye(channels)[power.argmax()]


def check_waveform(waveform: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """A waveform [C, L] with its faults mended, and a line for each that was or that will sound wrong.

    Raises:
        ValueError: it cannot be mended.
    """
    samples = waveform.detach().cpu().float().numpy().T  # [L, C]
    repair = measure(samples)
    mended, _ = repair.apply(samples)
    return torch.from_numpy(np.ascontiguousarray(mended.T)).to(waveform.device), repair.warnings


def _without_broken(samples: np.ndarray) -> tuple[np.ndarray, int]:
    whole = np.abs(samples) <= LARGEST  # False for NaN
    broken = samples.size - int(np.count_nonzero(whole))
    return (np.where(whole, samples, np.float32(0)), broken) if broken else (samples, 0)


def _gain(peak: float) -> float:
    """The factor that brings samples of this peak to full scale; 1 where floats are as they should be."""
    if peak <= LOUDEST:
        return 1.0
    # Twice an integer's range: resampling overshoots.
    fitting = [scale for scale in INTEGER_SCALES if peak <= 2 * scale]
    return 1 / fitting[0] if fitting and peak > 128 else 1 / peak
