"""Does music stay what it is over a minute? Its loudness, and how far loudness and key move away."""

import math

import torch
from torch import Tensor
from torch.nn import functional

SPAN = 60.0  # seconds of a recording that drift is asked of
STRETCH = 10.0  # seconds that a loudness, or a key, is taken over
FLOOR = 1e-12  # of the power
SHELF = (1681.974450955533, 0.7071752369554196, 3.999843853973347)  # Hz, Q, dB of what lies above
HIGH_PASS = (38.13547087602444, 0.5003270373238773, None)  # Hz, Q


def loudness(waveform: Tensor, sample_rate: int) -> float:
    """Loudness of a waveform [L] in LUFS (ITU-R BS.1770-4, one channel, without its gates)."""
    return float(-0.691 + 10 * _weighted(waveform, sample_rate).square().mean().clamp_min(FLOOR).log10())


def loudness_drift(waveform: Tensor, sample_rate: int) -> float:
    """How far loudness moves over a minute: the size of its slope in dB a minute, over stretches of 10 s.

    Of a waveform [L] the first minute counts. NaN for less than 20 s: one stretch has no slope.
    """
    weighted = _weighted(waveform[: round(SPAN * sample_rate)], sample_rate)
    length = round(STRETCH * sample_rate)
    if len(weighted) < 2 * length:
        return float("nan")
    levels = 10 * weighted.unfold(0, length, length).square().mean(dim=1).clamp_min(FLOOR).log10()  # dB
    places = torch.arange(len(levels)) * STRETCH / 60.0  # minutes
    centred = places - places.mean()
    return float(((centred * levels).sum() / centred.square().sum()).abs())


def key_drift(chroma: Tensor, frame_rate: float) -> float:
    """How far the pitch classes of the last 10 s of a minute are from those of its first 10 s: 0 … 1.

    One minus the cosine of the two mean chromas, each about its own mean, halved: 0 for the same notes
    equally often, 1/2 for what has nothing to do with it, 1 for the notes that were left out before.

    Args:
        chroma: [12, moments], not normalized; of it the first minute counts. NaN for less than 20 s.
        frame_rate: moments a second.
    """
    chroma = chroma[:, : round(SPAN * frame_rate)]
    length = int(STRETCH * frame_rate)
    if chroma.shape[1] < 2 * length:
        return float("nan")
    first, last = (part.mean(dim=1) for part in (chroma[:, :length], chroma[:, -length:]))
    return float((1 - functional.cosine_similarity(first - first.mean(), last - last.mean(), dim=0)) / 2)


def _weighted(waveform: Tensor, sample_rate: int) -> Tensor:
    """The waveform [L] as loud as it is heard: BS.1770-4's K weighting.

    The standard gives its two filters for 48 kHz alone; these are the analogue ones behind them (De Man,
    2014).
    """
    from torchaudio.functional import lfilter

    for frequency, q, gain in SHELF, HIGH_PASS:
        k = math.tan(math.pi * frequency / sample_rate)
        scale = 1 + k / q + k**2
        poles = [1.0, 2 * (k**2 - 1) / scale, (1 - k / q + k**2) / scale]
        if gain is None:
            zeros = [1.0, -2.0, 1.0]
        else:
            top = 10 ** (gain / 20)
            middle = top**0.4996667741545416 * k / q
            zeros = [(top + middle + k**2) / scale, 2 * (k**2 - top) / scale, (top - middle + k**2) / scale]
        waveform = lfilter(waveform, torch.tensor(poles), torch.tensor(zeros), clamp=False)
    return waveform
