"""The decoder-only transformer that all three stages share: embedded steps in, hidden states out.

Pre-norm with RMSNorm, T5's relative position bias (one table for all layers, per head), gated GELU as in
T5 1.1, dropout: MusicLM, sec. 4.1 (24 layers, 16 heads, width 1024, feed-forward 4096, dropout 0.1); the
gate is what makes that "430M parameters". Embeddings and heads belong to the stage (`stage.py`), which
knows the tokens.

Training runs `forward` on whole sequences. Decoding runs `prefill` once and `decode_step` per step on a
`KVCache` that is allocated at its full length before, holds the bias of every distance, and is passed in
and returned.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from musiclm.stages import flex
from musiclm.stages.blocked import blocked_attention, blocked_bias

Keep = Callable[[Tensor, Tensor], None]
Bias = flex.FlexBias | Tensor | list[Tensor]  # whole [H, S, S], or in blocks of queries


@dataclass(frozen=True)
class TransformerConfig:
    """Sizes of a transformer.

    Args:
        width: D, of the residual stream.
        layers: blocks.
        heads: attention heads; they share the width evenly.
        feed_forward: width of the gated feed-forward.
        dropout: inside the feed-forward, on each branch and on the embeddings.
        attention_dropout: on attention weights; as `dropout` unless given. Without any, CUDA trains by flex
            attention (`flex.py`).
        embedding_width: of the embedding tables, projected to `width`; `width` itself unless given. Small
            models would otherwise spend most of their parameters on rarely seen ids.
        tie_embeddings: the heads share the target's embedding table.
        buckets: of the relative position bias (T5's default).
        max_distance: steps beyond which all distances share the last bucket (T5's default).
    """

    width: int
    layers: int
    heads: int
    feed_forward: int
    dropout: float = 0.1
    embedding_width: int | None = None
    tie_embeddings: bool = False
    buckets: int = 32
    max_distance: int = 128
    attention_dropout: float | None = None

    def __post_init__(self) -> None:
        if min(self.width, self.layers, self.heads, self.feed_forward) < 1 or self.width % self.heads:
            raise ValueError(f"a transformer's width must be a multiple of its heads, got {self}")
        if not (0 <= self.dropout < 1 and 0 <= self.dropout_of_weights < 1):
            raise ValueError(f"dropout must lie in [0, 1), got {self.dropout}, {self.attention_dropout}")

    @property
    def dropout_of_weights(self) -> float:
        """On attention weights."""
        return self.dropout if self.attention_dropout is None else self.attention_dropout


@dataclass
class KVCache:
    """Keys and values of all steps so far, preallocated for the whole sequence.

    Args:
        keys: [layers, B * H, S, D / H], of which `length` steps are filled.
        values: as the keys.
        bias: [B * H, 1, S] relative position bias, farthest distance first: the last n serve n known steps.
        length: steps filled.
        work: memory of the compiled step (`native.py`).
        graphs: recorded steps, by how far they reach (`cuda_graph.py`).
    """

    keys: Tensor
    values: Tensor
    bias: Tensor
    length: int = 0
    work: Tensor | None = None
    graphs: dict[int, Any] = field(default_factory=dict)

    def fill(self, layer: int, part: int, keys: Tensor, values: Tensor) -> None:
        """Keep a layer's keys and values [b * H, n, D / H] of the first n steps.

        They are of the `part`-th b rows of the cache's B.
        """
        own = slice(part * len(keys), (part + 1) * len(keys))
        self.keys[layer, own, : keys.shape[1]] = keys
        self.values[layer, own, : values.shape[1]] = values


class RelativePositionBias(nn.Module):
    """T5's relative position bias, one value per head and bucket of distance, shared by all layers."""

    def __init__(self, heads: int, *, buckets: int, max_distance: int) -> None:
        super().__init__()
        self.max_distance = max_distance
        self.weight = nn.Parameter(torch.empty(buckets, heads))

    def by_distance(self, length: int) -> Tensor:
        """Bias [H, length] for distances 0 ... length - 1 from a step back to an earlier one."""
        distances = torch.arange(length, device=self.weight.device)
        buckets = distance_buckets(distances, buckets=self.weight.shape[0], max_distance=self.max_distance)
        return F.embedding(buckets, self.weight).t()

    def forward(self, length: int) -> Tensor:
        """Bias [H, length, length] of query i and key j; minus infinity where j lies in the future."""
        by_distance = self.by_distance(length)  # [H, S]
        future = by_distance.new_full((by_distance.shape[0], length - 1), -torch.inf)
        line = torch.cat(
            [by_distance.flip(1), future], dim=1
        )  # [H, 2S - 1], distance S-1 ... 0, then the future
        return line.unfold(1, length, 1).flip(1)  # row i is the window that begins at distance i


class Block(nn.Module):
    """Causal self-attention and a gated feed-forward, each added to the residual stream."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.dropout = config.dropout
        self.attention_dropout = config.dropout_of_weights
        self.attention_norm: nn.Module = nn.RMSNorm(config.width, eps=1e-6)  # T5's epsilon
        self.qkv = nn.Linear(config.width, 3 * config.width, bias=False)
        self.attention_out = nn.Linear(config.width, config.width, bias=False)
        self.feed_forward_norm: nn.Module = nn.RMSNorm(config.width, eps=1e-6)
        self.feed_forward_in = nn.Linear(config.width, 2 * config.feed_forward, bias=False)  # gate, value
        self.feed_forward_out = nn.Linear(config.feed_forward, config.width, bias=False)

    def forward(self, x: Tensor, bias: Bias, keep: Keep | None = None) -> Tensor:
        """Hidden states [B, S, D] of whole sequences; `keep` gets keys and values [B * H, S, D / H]."""
        queries, keys, values = self._split(self.qkv(self.attention_norm(x)))  # [B, H, S, D/H] each
        if keep is not None:
            keep(keys.flatten(0, 1), values.flatten(0, 1))
        dropout = self.attention_dropout if self.training else 0.0
        attended = attention(queries, keys, values, bias, dropout=dropout)
        attended = self.attention_out(attended.transpose(1, 2).flatten(2))  # [B, S, D]
        x = x + F.dropout(attended, self.dropout, self.training)
        return x + F.dropout(self._feed_forward(self.feed_forward_norm(x)), self.dropout, self.training)

    def decode_step(self, x: Tensor, bias: Tensor, keys: Tensor, values: Tensor, place: Tensor) -> Tensor:
        """Hidden state [B, D] of one step; writes its key and value into the cache at its place.

        Args:
            x: [B, D].
            bias: [B * H, 1, n] of the distances to the first n steps, as the keys are; minus infinity for
                those that are not filled yet.
            keys: [B * H, S, D / H], preallocated; values alike.
            values: see keys.
            place: [1] int64, steps before this one.
        """
        batch, width = x.shape
        qkv = self.qkv(self.attention_norm(x)).view(batch, 3, self.heads, -1).to(keys.dtype)
        query, key, value = qkv.unbind(1)  # [B, H, D/H] each
        keys.index_copy_(1, place, key.reshape(len(keys), 1, -1))
        values.index_copy_(1, place, value.reshape(len(keys), 1, -1))
        scores = torch.baddbmm(
            bias,
            query.reshape(len(keys), 1, -1),
            keys[:, : bias.shape[2]].transpose(1, 2),
            alpha=query.shape[-1] ** -0.5,
        )  # [B * H, 1, n]
        weights = scores.softmax(dim=-1, dtype=torch.float32).to(values.dtype)
        attended = torch.bmm(weights, values[:, : bias.shape[2]]).view(batch, width)
        x = x + self.attention_out(attended.to(x.dtype))
        gate, value = self.feed_forward_in(self.feed_forward_norm(x)).chunk(2, dim=-1)
        return x + self.feed_forward_out(F.gelu(gate, approximate="tanh") * value)

    def _split(self, qkv: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        batch, steps, _ = qkv.shape
        return qkv.view(batch, steps, 3, self.heads, -1).permute(2, 0, 3, 1, 4).unbind(0)  # type: ignore[return-value]

    def _feed_forward(self, x: Tensor) -> Tensor:
        gate, value = self.feed_forward_in(x).chunk(2, dim=-1)
        gated = F.gelu(gate, approximate="tanh") * value  # T5 1.1's "gated-gelu" is the tanh form
        return self.feed_forward_out(F.dropout(gated, self.dropout, self.training))


class Transformer(nn.Module):
    """A stack of blocks over embedded steps."""

    def __init__(self, config: TransformerConfig) -> None:
        super().__init__()
        self.config = config
        self.position_bias = RelativePositionBias(
            config.heads, buckets=config.buckets, max_distance=config.max_distance
        )
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.final_norm = nn.RMSNorm(config.width, eps=1e-6)
        # All blocks of a step in one call: compiled (`native.py`) or captured on a GPU (`cuda_graph.py`).
        self.fused_step: Callable[[Tensor, KVCache], Tensor] | None = None
        self.recomputes = False  # inner values of a block in the backward pass, instead of keeping them

    def forward(self, x: Tensor) -> Tensor:
        """Hidden states [B, S, D] of embedded steps [B, S, D]; step s depends on steps 0 ... s only."""
        x = F.dropout(x, self.config.dropout, self.training)
        bias = self._bias(x.shape[1])  # the same for every layer
        for block in self.blocks:
            if self.recomputes and self.training:
                x = checkpoint(block, x, bias, use_reentrant=False)
            else:
                x = block(x, bias)
        return self.final_norm(x)

    def _bias(self, length: int) -> Bias:
        """The bias in the form that decides how `attention` computes: chosen by the device, here alone."""
        config, table = self.config, self.position_bias
        device, head = table.weight.device, config.width // config.heads
        if self.training and flex.serves(device=device, head=head, dropout=config.dropout_of_weights):
            return flex.flex_bias(table.by_distance, length)
        if device.type == "cuda":
            return table(length)
        by_distance = table.by_distance(length)
        if torch.is_autocast_enabled(device.type):  # once, and not in every layer
            by_distance = by_distance.to(torch.get_autocast_dtype(device.type))
        return blocked_bias(by_distance)

    def new_cache(self, batch: int, length: int) -> KVCache:
        """An empty cache for `batch` rows of at least `length` steps, where and as the weights are."""
        lend = getattr(self.fused_step, "cache", None)
        return lend(batch, length) if lend else self.allocate(batch, length)

    def allocate(self, batch: int, length: int, kept_in: torch.dtype | None = None) -> KVCache:
        """Memory for a cache of `length` steps, in `kept_in` or as the weights are."""
        heads, weight = self.config.heads, self.position_bias.weight
        shape = (len(self.blocks), batch * heads, length, self.config.width // heads)
        # Zeros, since what is masked is multiplied all the same, and must not be NaN.
        keys, values = (weight.new_zeros(shape, dtype=kept_in) for _ in range(2))
        bias = self.position_bias.by_distance(length).flip(1).repeat(batch, 1)
        return KVCache(keys, values, bias[:, None])

    def prefill(self, x: Tensor, cache: KVCache) -> tuple[Tensor, KVCache]:
        """Hidden states [B, S, D] of the first S steps [B, S, D], and the cache that now holds them.

        On a CPU one row goes through after another: torch's products of several rows may round otherwise than
        those of one, and a row of a batch is to be what it is alone.
        """
        assert cache.length == 0
        bias = self._bias(x.shape[1])
        hidden = []
        for part, states in enumerate(x.split(1 if x.device.type == "cpu" else len(x))):
            for layer, block in enumerate(self.blocks):
                states = block(states, bias, keep=partial(cache.fill, layer, part))
            hidden.append(self.final_norm(states))
        cache.length = x.shape[1]
        return torch.cat(hidden), cache

    def decode_step(self, x: Tensor, cache: KVCache) -> tuple[Tensor, KVCache]:
        """Hidden state [B, 1, D] of the next step [B, 1, D], and the cache that now holds it."""
        if self.fused_step is not None:
            x = self.fused_step(x[:, 0], cache)
        else:
            place = torch.full((1,), cache.length, device=x.device)
            x = self.through_blocks(x[:, 0], cache, cache.bias[:, :, -(cache.length + 1) :], place)
        cache.length += 1
        return self.final_norm(x)[:, None], cache

    def through_blocks(self, x: Tensor, cache: KVCache, bias: Tensor, place: Tensor) -> Tensor:
        """One step [B, D] through all blocks; bias and place as in `Block.decode_step`."""
        bias = bias.to(cache.keys.dtype)
        for block, keys, values in zip(self.blocks, cache.keys, cache.values, strict=True):
            x = cast(Block, block).decode_step(x, bias, keys, values, place)
        return x

    def initialise(self) -> None:
        """All initial values: matrices normal with variance 1 / inputs, position bias 0, norms 1.

        Matrices that write to the residual stream are scaled down by the square root of their number (GPT-2),
        so that depth does not make it grow.
        """
        writers = math.sqrt(2 * len(self.blocks))
        nn.init.zeros_(self.position_bias.weight)
        for name, module in self.named_modules():
            if isinstance(module, nn.RMSNorm):
                nn.init.ones_(module.weight)
            if isinstance(module, nn.Linear):
                scale = 1 / writers if name.endswith("_out") else 1.0
                nn.init.normal_(module.weight, std=scale * module.in_features**-0.5)


def distance_buckets(distances: Tensor, *, buckets: int, max_distance: int) -> Tensor:
    """T5's bucket of each distance back in time: half are exact, the others logarithmic to max_distance."""
    exact = buckets // 2
    far = (
        torch.log(distances.float().clamp(min=1) / exact) / math.log(max_distance / exact) * (buckets - exact)
    )
    return torch.where(distances < exact, distances, (exact + far.long()).clamp(max=buckets - 1))


def attention(queries: Tensor, keys: Tensor, values: Tensor, bias: Bias, *, dropout: float) -> Tensor:
    """Causal self-attention [B, H, S, D / H] with a bias, in the form `Transformer._bias` gives it."""
    if isinstance(bias, flex.FlexBias):
        assert dropout == 0
        return flex.flexible(queries, keys, values, bias)
    if isinstance(bias, Tensor):
        return F.scaled_dot_product_attention(
            queries, keys, values, attn_mask=bias.to(queries.dtype), dropout_p=dropout
        )
    return blocked_attention(queries, keys, values, bias, dropout=dropout)
