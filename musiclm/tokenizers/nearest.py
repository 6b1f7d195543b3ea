"""The nearest entry of a codebook: the one search of all quantizers."""

import torch
from torch import Tensor

CHUNK = 16_384  # vectors whose distances to all entries are held at once


def nearest(vectors: Tensor, entries: Tensor) -> Tensor:
    """Index [N] of the entry [K, D] nearest to each vector [N, D], the lowest of equally near ones."""
    # |v - e|² without |v|², which is the same for every entry.
    # In full precision: with bfloat16, vectors would change entries at random.
    with torch.autocast(vectors.device.type, enabled=False):
        squares = entries.square().sum(dim=1)  # [K]
        return torch.cat(
            [
                torch.addmm(squares, chunk, entries.T, alpha=-2.0).argmin(dim=1)
                for chunk in vectors.split(CHUNK)
            ]
        )
