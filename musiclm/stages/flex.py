"""Attention on CUDA in training: torch's flex attention, which keeps no [S, S] matrix of scores or bias.

`F.scaled_dot_product_attention` needs the bias as a mask [H, S, S], and for its gradient one of [B, H, S, S].
Here a kernel made for the purpose reads the bias of each distance, and skips what lies in the future.

It has no dropout on attention weights (pytorch issue 141784), so it serves where `attention_dropout` is 0.
Its kernel does not train on a CPU: tests run what it is traced to, in plain operations, and it has never run
on CUDA. Two traps of torch 2.9 are walked around: a captured tensor that is a view gets no gradient, without
a word (as in issue 162228); lengths that are no multiple of 128 may give NaN (issue 153799).
"""

from collections.abc import Callable
from functools import cache, lru_cache
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import BlockMask, create_block_mask, flex_attention

BLOCK = 128  # steps; what is masked as a whole
LEAST_HEAD = 16  # width below which there is no kernel
BACKEND = "inductor"


class FlexBias(NamedTuple):
    """What flex attention adds and masks.

    Args:
        by_distance: [H, S'], the bias of each distance, up to S' steps: S rounded up to a multiple of BLOCK.
        mask: of S' queries and keys, causal.
    """

    by_distance: Tensor
    mask: BlockMask


def serves(*, device: torch.device, head: int, dropout: float) -> bool:
    """Whether flex attention trains here: on CUDA, heads of this width, dropout on attention weights."""
    return device.type == "cuda" and head >= LEAST_HEAD and dropout == 0


def flex_bias(by_distance: Callable[[int], Tensor], length: int) -> FlexBias:
    """The bias of sequences of `length` steps, from the one of the first so many distances [H, n]."""
    padded = -(-length // BLOCK) * BLOCK
    bias = by_distance(padded).clone(memory_format=torch.contiguous_format)
    return FlexBias(bias, _causal_mask(padded, bias.device))


def flexible(queries: Tensor, keys: Tensor, values: Tensor, bias: FlexBias) -> Tensor:
    """Causal self-attention [B, H, S, D / H]."""
    length = queries.shape[2]
    added = (0, 0, 0, bias.by_distance.shape[1] - length)  # later than all the others, so that none sees them
    padded = [F.pad(tensor, added) for tensor in (queries, keys, values)]

    def score(score: Tensor, row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return score + bias.by_distance[head, (query - key).clamp(min=0)]  # the future is masked

    attend: Callable[..., Any] = flex_attention if torch.compiler.is_compiling() else _compiled(BACKEND)
    attended: Tensor = attend(*padded, score_mod=score, block_mask=bias.mask)
    return attended[:, :, :length]


@lru_cache(maxsize=8)
def _causal_mask(length: int, device: torch.device) -> BlockMask:
    def causal(row: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return query >= key

    return create_block_mask(causal, None, None, length, length, device=str(device))


@cache
def _compiled(backend: str) -> Callable[..., Any]:
    return torch.compile(flex_attention, backend=backend, dynamic=False)
