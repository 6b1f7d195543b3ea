"""Attention on a CPU: a block of queries at a time, with the keys up to the block's own end only.

This leaves out nearly half of the work of long sequences. `F.scaled_dot_product_attention` sees all keys, has
no gradient for the bias in its fused kernel, and computes in float32 whatever it reads; and what autograd
makes of the plain lines copies every slice of keys and values, and fills every slice's gradient up with
zeros. Here gradients are added in place. docs/performance.md has the figures.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

QUERIES_AT_ONCE = 256


def blocked_bias(by_distance: Tensor) -> list[Tensor]:
    """The bias of each block's queries and keys [H, q, k], from that of distances 0 ... S - 1 [H, S]."""
    length = by_distance.shape[1]
    starts = range(0, length, QUERIES_AT_ONCE)
    return [bias_between(by_distance, start, min(start + QUERIES_AT_ONCE, length)) for start in starts]


def bias_between(by_distance: Tensor, start: int, end: int) -> Tensor:
    """The bias [H, end - start, end] of queries from `start` and of all keys, both up to `end`.

    Minus infinity where a key lies in the query's future.
    """
    heads, queries = by_distance.shape[0], end - start
    future = by_distance.new_full((heads, queries), -torch.inf)
    # Seen from the first query: distance start ... 0, the future, and what only the later queries reach.
    past, farther = (by_distance[:, part].flip(1) for part in (slice(0, start + 1), slice(start + 1, end)))
    line = torch.cat([past, future, farther], dim=1)
    # Repeated and cut into rows one entry shorter than itself, it begins one distance earlier in each row
    # (the relative shift of Transformer-XL, arXiv 1901.02860, appendix B), and its gradient is a plain sum.
    shorter = line.shape[1] - 1
    rows = line.repeat(1, queries)[:, : queries * shorter].view(heads, queries, shorter)
    return rows[:, :, :end].contiguous()


def blocked_attention(
    queries: Tensor, keys: Tensor, values: Tensor, bias: list[Tensor], *, dropout: float
) -> Tensor:
    """Causal self-attention [B, H, S, D / H], with `dropout` on its weights.

    Softmax sums in float32 whatever it reads and writes; all else is as precise as the queries are.
    """
    attend = _uncompiled_attention if torch.compiler.is_compiling() else _attention
    return attend(queries, keys, values, bias, dropout)


def _attention(queries: Tensor, keys: Tensor, values: Tensor, bias: list[Tensor], dropout: float) -> Tensor:
    scaled = queries * queries.shape[-1] ** -0.5
    rows = (tensor.contiguous().flatten(0, 1) for tensor in (scaled, keys, values))
    attended: Tensor = _BlockedAttention.apply(*rows, dropout, *bias)
    return attended.view(queries.shape)


# It writes in place, into slices. Not `torch.compiler.disable`, which imports the compiler at once: music
# would take a second longer to start.
_uncompiled_attention = torch._disable_dynamo(_attention)


class _BlockedAttention(torch.autograd.Function):
    """`blocked_attention` of [B * H, S, D / H] each, the queries scaled already."""

    @staticmethod
    @torch.autocast("cpu", enabled=False)  # what products write into has the precision of the queries
    def forward(
        ctx: Any, queries: Tensor, keys: Tensor, values: Tensor, dropout: float, *bias: Tensor
    ) -> Tensor:
        attended, trains = torch.empty_like(queries), any(ctx.needs_input_grad)
        kept: list[Tensor] = []
        start = 0
        for block in bias:
            heads, _, end = block.shape
            scores = torch.bmm(queries[:, start:end], keys[:, :end].mT)
            scores.unflatten(0, (-1, heads)).add_(block)
            weights = scores.softmax(dim=-1)
            kept += [weights] if trains else []
            if dropout:
                weights, mask = torch.native_dropout(weights, dropout, True)
                kept += [mask] if trains else []
            torch.bmm(weights, values[:, :end], out=attended[:, start:end])
            start = end
        ctx.save_for_backward(queries, keys, values, *kept)
        ctx.dropout, ctx.bias = dropout, [(*block.shape, block.dtype) for block in bias]
        return attended

    @staticmethod
    @once_differentiable
    @torch.autocast("cpu", enabled=False)
    def backward(  # type: ignore[override]
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, ...]:
        queries, keys, values, *kept = ctx.saved_tensors
        for_queries, for_keys, for_values = (torch.empty_like(tensor) for tensor in (queries, keys, values))
        for_bias = []
        fresh = True  # the last block is the first: it reaches every key
        for heads, count, end, dtype in reversed(ctx.bias):
            start = end - count
            above = grad[:, start:end]
            for_weights = torch.bmm(above, values[:, :end].mT)
            if ctx.dropout:
                mask, scale = kept.pop(), 1 / (1 - ctx.dropout)
                weights = kept.pop()
                for_weights = torch.ops.aten.native_dropout_backward(for_weights, mask, scale)
                dropped = torch.ops.aten.native_dropout_backward(weights, mask, scale)
            else:
                dropped = weights = kept.pop()
            for_values[:, :end].baddbmm_(dropped.mT, above, beta=0 if fresh else 1)
            for_scores = torch._softmax_backward_data(for_weights, weights, -1, weights.dtype)
            torch.bmm(for_scores, keys[:, :end], out=for_queries[:, start:end])
            for_keys[:, :end].baddbmm_(for_scores.mT, queries[:, start:end], beta=0 if fresh else 1)
            rows = for_scores.unflatten(0, (-1, heads))
            for_bias.append((rows[0] if len(rows) == 1 else rows.sum(0)).to(dtype))
            fresh = False
        return for_queries, for_keys, for_values, None, *reversed(for_bias)
