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

from musiclm.tokenizers.streaming import Stream, StreamBuffer

GRIFFIN_LIM_ROUNDS = 8
GOLDEN = (5**0.5 - 1) / 2
MOMENTUM = 0.99  # of fast Griffin-Lim; the paper's best


def reconstruct_phase(
    magnitude: Tensor, known: Tensor, *, hop: int, consistent: Callable[[Tensor], Tensor]
) -> Tensor:
    """Complex spectra [B, T, F] of `magnitude`, with `known` phases first and reconstructed ones after.

    Args:
        magnitude: [B, T, F], non-negative, of frames `hop` samples apart; phases count from their middle.
        known: complex spectra [B, n, F] of the first n frames (n may be 0), whose phases are kept.
        hop: samples between frames.
        consistent: spectra to the spectra of the sound that they make; one round of Griffin-Lim.
    """
    fixed = known / known.abs().clamp_min(1e-9)  # [B, n, F]
    phase = propagate(magnitude, fixed.angle(), hop)
    spectra = torch.polar(magnitude, phase)
    before: Tensor | None = None
    for _ in range(GRIFFIN_LIM_ROUNDS):
        now = consistent(spectra)
        spectra = agreeing(magnitude, now, before)
        spectra[:, : fixed.shape[1]] = magnitude[:, : fixed.shape[1]] * fixed
        before = now
    return spectra


def agreeing(magnitude: Tensor, now: Tensor, before: Tensor | None) -> Tensor:
    """Spectra of `magnitude` with the phases of consistent ones, moved on as they moved in the last round."""
    moved = now if before is None else now + MOMENTUM * (now - before)
    return moved * (magnitude / moved.abs().clamp_min(1e-12))  # a third of the time of `polar` and `angle`


class PhaseReconstruction:
    """`reconstruct_phase` chunk by chunk from the first frame on: magnitudes [B, F, T] to spectra [B, F, T].

    The phases run on from frame to frame, and each round of Griffin-Lim looks as far ahead as windows
    overlap: so all of it can be streamed.

    Args:
        hop: samples between frames.
        consistent: makes streams, one for each round: spectra to the spectra of the sound that they make.
    """

    def __init__(self, *, hop: int, consistent: Callable[[], Stream]) -> None:
        self.hop = hop
        self.last_magnitude: Tensor | None = None  # [B, F, 1] of the frame before
        self.last_phase: Tensor | None = None  # [B, 1, F]
        self.rounds = [_Round(consistent()) for _ in range(GRIFFIN_LIM_ROUNDS)]

    def __call__(self, magnitude: Tensor, last: bool) -> Tensor:
        spectra = torch.polar(magnitude, self._run_on(magnitude))
        before: Tensor | None = None
        for turn in self.rounds:
            magnitude, spectra, before = turn(magnitude, spectra, before, last)
        return spectra

    def _run_on(self, magnitude: Tensor) -> Tensor:
        """Phases [B, F, T] of the next frames."""
        if magnitude.shape[-1] == 0:
            return magnitude
        if self.last_magnitude is None or self.last_phase is None:
            phase = propagate(magnitude.mT, magnitude.mT[:, :0], self.hop)
        else:
            known = torch.cat([self.last_magnitude, magnitude], dim=-1)
            phase = propagate(known.mT, self.last_phase, self.hop)[:, 1:]
        self.last_magnitude, self.last_phase = magnitude[..., -1:], phase[:, -1:]
        return phase.mT


class _Round:
    """One round of fast Griffin-Lim, whose inputs wait for the spectra that they are compared with."""

    def __init__(self, consistent: Stream) -> None:
        self.consistent = consistent
        self.magnitude, self.before = StreamBuffer(), StreamBuffer()

    def __call__(
        self, magnitude: Tensor, spectra: Tensor, before: Tensor | None, last: bool
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Magnitudes, spectra and what they were before they agreed, of the frames that are certain."""
        now = self.consistent(spectra, last)
        self.magnitude.add(magnitude)
        magnitude = self.magnitude.take(now.shape[-1])
        if before is not None:
            self.before.add(before)
            before = self.before.take(now.shape[-1])
        return magnitude, agreeing(magnitude, now, before), now


def propagate(magnitude: Tensor, known: Tensor, hop: int) -> Tensor:
    """Phases [B, T, F]: the first frames' are `known` [B, n, F], then each peak runs on at its frequency."""
    num_frames, num_bins = magnitude.shape[1:]
    peak, frequency = peaks(magnitude)  # [B, T, F] each
    step = hop * math.pi * frequency / (num_bins - 1)  # phase that each bin's peak gains over one hop
    phases = list(known.unbind(dim=1))
    if not phases:
        phases.append(scattered(magnitude[:, 0]).gather(1, peak[:, 0]))
    for t in range(len(phases), num_frames):
        gained = phases[-1] + 0.5 * (step[:, t - 1] + step[:, t])  # [B, F]
        # Counted from the frame's middle, all bins of one peak have the same phase.
        phases.append(gained.gather(1, peak[:, t]))
    return torch.stack(phases, dim=1)


def scattered(bins: Tensor) -> Tensor:
    """Phases [B, F] for a first frame, the same for every sound, unlike from bin to bin.

    Were they all 0, every partial would be at its height in the frame's middle: each piece would begin with a
    click, louder than all that follows.
    """
    places = torch.arange(bins.shape[-1], dtype=torch.float64, device="cpu")  # not all GPUs have 64 bits
    turns = torch.frac(places.square() * GOLDEN)  # of squares: equally distributed (Weyl)
    return (2 * math.pi * turns).to(bins).expand_as(bins)


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
