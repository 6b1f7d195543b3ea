"""Losses that pull with the strength asked for, whatever their scale (EnCodec, arXiv 2210.13438, sec. 3.4).

Each loss's gradient with respect to the codec's output is divided by its usual norm and multiplied by the
share that the loss's weight has of all: weights then say who decides how much, and a loss that is large by
its units outweighs none. The averages are part of the module's state, so that a resumed run is the same run.
(The published `encodec` package, 0.1.1, has no balancer.)
"""

import torch
from torch import Tensor, nn

from musiclm.tokenizers.gather import from_all_devices

DECAY = 0.999  # of the norms' moving averages; EnCodec, sec. 3.4


class Balancer(nn.Module):
    """Replaces losses of one output by a single one with the balanced gradient.

    Args:
        weights: of the losses by name; their shares of the gradient, up to a common factor. A loss of weight
            0 has no part.
    """

    sums: Tensor
    counts: Tensor

    def __init__(self, weights: dict[str, float]) -> None:
        super().__init__()
        if not weights or min(weights.values()) < 0 or max(weights.values()) == 0:
            raise ValueError(f"expected weights of 0 or more, one above, to balance losses by, got {weights}")
        self.weights = weights
        self.register_buffer("sums", torch.zeros(len(weights)))  # decaying, of norms
        self.register_buffer("counts", torch.zeros(len(weights)))  # decaying, of the norms summed

    def forward(self, losses: dict[str, Tensor], output: Tensor) -> Tensor:
        """A scalar whose gradient with respect to `output` [B, ...] is the balanced sum of the losses' own.

        Where the losses pull the same way, the gradient of an example has a usual norm of 1 / B: that of a
        mean over the batch. Losses that are not there yet leave their share to the others. The scalar's own
        value says nothing.
        """
        names = [name for name in self.weights if name in losses and self.weights[name] > 0]
        total = sum(self.weights[name] for name in names)
        balanced = torch.zeros_like(output)
        for name in names:
            (gradient,) = torch.autograd.grad(losses[name], output, retain_graph=True)
            norm = self._usual_norm(name, gradient.detach())
            balanced += gradient * (self.weights[name] / total / len(output) / norm.clamp_min(1e-12))
        return (output * balanced).sum()

    def _usual_norm(self, name: str, gradient: Tensor) -> Tensor:
        """The moving average of an example's norm, with this batch's in it."""
        index = list(self.weights).index(name)
        norms = from_all_devices(gradient.flatten(1).float().norm(dim=1))  # [B]
        self.sums[index] = DECAY * self.sums[index] + norms.mean()
        self.counts[index] = DECAY * self.counts[index] + 1.0
        return self.sums[index] / self.counts[index]
