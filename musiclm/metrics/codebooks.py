"""How evenly the entries of a codebook are used."""

import torch
from torch import Tensor


def perplexity(uses: Tensor) -> Tensor:
    """How many entries of a codebook are in use, weighted by how much: exp of the entropy.

    Args:
        uses: [..., codebook_size], how often each entry was chosen.
    """
    shares = uses / uses.sum(dim=-1, keepdim=True).clamp_min(1.0)
    return torch.special.entr(shares).sum(dim=-1).exp()
