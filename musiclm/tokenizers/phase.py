"""Phases for magnitudes that have none, so that a codec need not spend its codes on phase.

The phase of a partial is an accident of when it was struck: it costs as many bits as the rest of the sound,
no stage can foresee it, and no ear misses it. So the codes say how loud each frequency is, and the phases are
made up when decoding: each spectral peak runs on at its own frequency, read off the shape of the peak
(single-pass spectrogram inversion, Beauregard, Harish and Wyse, DSP 2015; peaks lock their neighbours as in
Laroche and Dolson, IEEE TSAP 1999, sec. III), then a few rounds of fast Griffin-Lim (Perraudin, Balazs and
Sondergaard, WASPAA 2013) make frames that overlap agree.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

GRIFFIN_LIM_ROUNDS = 8
MOMENTUM = 0.99  # of fast Griffin-Lim; the paper's best


def invent_phase(
    magnitude: Tensor, known: Tensor, *, hop: int, consistent: Callable[[Tensor], Tensor]
) -> Tensor:
    """Complex spectra [B, T, F] of `magnitude`, with `known` phases first and invented ones after.

    Args:
        magnitude: [B, T, F], non-negative, of frames `hop` samples apart; phases count from their middle.
        known: complex spectra [B, n, F] of the first n frames (n may be 0), whose phases are kept.
        hop: samples between frames.
        consistent: spectra to the spectra of the sound that they make; one round of Griffin-Lim.
    """
    fixed = known / known.abs().clamp_min(1e-9)  # [B, n, F]
    phase = run_on(magnitude, fixed.angle(), hop)
    spectra = torch.polar(magnitude, phase)
    before = torch.zeros_like(spectra)
    for turn in range(GRIFFIN_LIM_ROUNDS):
        now = consistent(spectra)
        moved = now + MOMENTUM * (now - before) if turn else now
        before = now
        spectra = torch.polar(magnitude, moved.angle())
        spectra[:, : fixed.shape[1]] = magnitude[:, : fixed.shape[1]] * fixed
    return spectra


def run_on(magnitude: Tensor, known: Tensor, hop: int) -> Tensor:
    """Phases [B, T, F]: the first frames' are `known` [B, n, F], then each peak runs on at its frequency."""
    num_frames, num_bins = magnitude.shape[1:]
    peak, frequency = peaks(magnitude)  # [B, T, F] each
    step = hop * math.pi * frequency / (num_bins - 1)  # phase that each bin's peak gains over one hop
    phases = list(known.unbind(dim=1))
    if not phases:
        phases.append(torch.zeros_like(magnitude[:, 0]))
    for t in range(len(phases), num_frames):
        gained = phases[-1] + 0.5 * (step[:, t - 1] + step[:, t])  # [B, F]
        # Counted from the frame's middle, all bins of one peak have the same phase.
        phases.append(gained.gather(1, peak[:, t]))
    return torch.stack(phases, dim=1)


def peaks(magnitude: Tensor) -> tuple[Tensor, Tensor]:
    """For each bin of [B, T, F] the bin of the nearest local maximum, and that peak's frequency in bins.

    A parabola through the logarithms of three bins gives the place between them.
    """
    num_bins = magnitude.shape[-1]
    level = magnitude.clamp_min(1e-8).log()
    around = F.pad(level, (1, 1), value=-1e4)
    left, right = around[..., :-2], around[..., 2:]
    is_peak = (level > left) & (level >= right)
    bins = torch.arange(num_bins, device=magnitude.device).expand_as(level)
    below = torch.where(is_peak, bins, -num_bins).cummax(dim=-1).values
    above = torch.where(is_peak, bins, 2 * num_bins).flip(-1).cummin(dim=-1).values.flip(-1)
    nearest = torch.where(bins - below <= above - bins, below, above).clamp(0, num_bins - 1)
    curvature = (left - 2.0 * level + right).clamp_max(-1e-3)
    offset = (0.5 * (left - right) / curvature).clamp(-0.5, 0.5)
    return nearest, nearest + offset.gather(-1, nearest)
