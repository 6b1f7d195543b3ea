"""Standardisation by running statistics, the same in training and afterwards.

Batch normalisation would shift each training batch by its own mean: noise that a quantizer after it cannot
afford. Layer normalisation leaves a constant that all frames share, and next to a large constant the
differences between frames, which are what a codebook must tell apart, are too small to be seen.
"""

import torch
from torch import Tensor, nn

from musiclm.tokenizers.gather import from_all_devices

MOMENTUM = 0.01  # of a new batch, once there were 1 / MOMENTUM of them; before that all count alike


class RunningNorm(nn.Module):
    """Frames [..., D] minus the running mean of each dimension, over its running standard deviation."""

    mean: Tensor
    variance: Tensor
    num_batches: Tensor
    training_state = ("num_batches",)

    def __init__(self, dimension: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("variance", torch.ones(dimension))
        self.register_buffer("num_batches", torch.zeros((), dtype=torch.int64))

    def forward(self, frames: Tensor, *, learn: bool = True) -> Tensor:
        """Standardised frames [..., D]; in training mode the statistics follow them, unless told not to."""
        if self.training and learn:
            self._update(from_all_devices(frames.detach().flatten(0, -2).float()))
        return (frames - self.mean) * (self.variance + 1e-6).rsqrt()

    def _update(self, frames: Tensor) -> None:
        """Move the statistics towards those of `frames` [N, D]."""
        self.num_batches += 1
        weight = (1.0 / self.num_batches).clamp_min(MOMENTUM)
        mean = frames.mean(dim=0)
        deviation = (frames - mean).square().mean(dim=0)
        # The variance of the mixture of past and present, which includes how far their means are apart.
        between = weight * (1.0 - weight) * (mean - self.mean).square()
        self.variance += weight * (deviation - self.variance) + between
        self.mean += weight * (mean - self.mean)
