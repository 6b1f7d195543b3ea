"""What is wrong with sound whatever the music: silence and clicks."""

import torch
from torch import Tensor
from torch.nn import functional

SILENT = 10 ** (-60 / 20)  # of full scale: below, a moment is silent
MOMENT_SECONDS = 0.05
# A click is a step or a spike between samples that are smooth before and after. The beginning of a drum is
# steep too, but goes on being so; the steps of a sawtooth come again within NEAR.
STICKS_OUT = 8.0  # times the largest curvature near it
LEAST = 0.02  # of full scale: a smaller step is not heard
GUARD, NEAR = 3, 480  # samples that belong to the click itself; on either side that it is compared with


def silent_share(waveform: Tensor, sample_rate: int) -> float:
    """Share of the moments of 50 ms of a waveform [L] whose level is below -60 dB of full scale."""
    length = min(round(MOMENT_SECONDS * sample_rate), len(waveform))
    levels = waveform.unfold(0, length, length).square().mean(dim=1).sqrt()
    return float((levels < SILENT).float().mean())


def clicks(waveform: Tensor) -> Tensor:
    """Samples at which a waveform [L] clicks, [N]: a step, or single samples out of line."""
    if len(waveform) < 2 * NEAR:
        return torch.zeros(0, dtype=torch.long)
    curvature = functional.pad(waveform.diff(n=2).abs(), (1, 1))  # [L], at the sample in the middle

    def largest(values: Tensor, first: int, last: int) -> Tensor:
        """Of the values from `first` to `last` samples behind each one, [L]."""
        padded = functional.pad(values, (max(-first, 0), max(last, 0)))
        start = max(first, 0)
        return functional.max_pool1d(padded[None], last - first + 1, stride=1)[0, start : start + len(values)]

    before, after = largest(curvature, -NEAR, -GUARD), largest(curvature, GUARD, NEAR)
    sticks_out = (curvature > LEAST) & (curvature > STICKS_OUT * torch.maximum(before, after))
    places = sticks_out.nonzero()[:, 0]
    if len(places) == 0:
        return places
    # Of samples next to each other, which are one click, the one that sticks out most.
    groups = torch.cat([torch.zeros(1, dtype=torch.long), (places.diff() > GUARD).cumsum(0)])
    return torch.stack(
        [
            own[curvature[own].argmax()]
            for own in (places[groups == group] for group in range(int(groups[-1]) + 1))
        ]
    )
