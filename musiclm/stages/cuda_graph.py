"""The decode step on a GPU, captured as a CUDA graph: recorded once, then replayed.

A step of one row launches hundreds of kernels that are over sooner than the next is launched. A graph
launches them all at once, but its shapes and addresses are fixed: a step's place in the sequence is a tensor
that it reads, and attention reaches over the first `reach` steps of the cache, where those not filled yet are
masked. There is one graph for every multiple of REACH, recorded when the first step needs it.

Graphs read and write the cache that they were recorded with. So caches are kept and lent again when the one
they were lent to is done with: one generation pays for the recording, the next do not.
"""

import weakref
from collections import deque
from contextlib import nullcontext

import torch
from torch import Tensor

from musiclm.stages.transformer import KVCache, Transformer

REACH = 256  # steps; how far attention reaches is rounded up to a multiple of it
KEPT = 8  # caches that wait to be lent
WARM_UP = 3  # runs before recording: libraries allocate and choose kernels in their first ones


class CudaGraphStep:
    """All blocks of a transformer for one step, as `Transformer.fused_step`.

    On a CPU, where nothing can be captured, the same computation runs as it is: that is what tests compare.

    Args:
        transformer: the blocks.
        kept_in: keys and values; as the weights unless given.
    """

    def __init__(self, transformer: Transformer, kept_in: torch.dtype | None = None) -> None:
        self.transformer = transformer
        self.kept_in = kept_in
        self.free: deque[KVCache] = deque(maxlen=KEPT)  # the latest ones

    def cache(self, batch: int, length: int) -> KVCache:
        """An empty cache, one that was used before where there is one."""
        capacity = -(-length // REACH) * REACH
        shape = (batch * self.transformer.config.heads, capacity)
        kept = next((cache for cache in self.free if cache.keys.shape[1:3] == shape), None)
        if kept is None:
            with torch.inference_mode(False):  # it will be used outside as well
                kept = self.transformer.allocate(batch, capacity, self.kept_in)
        else:
            self.free.remove(kept)
            for tensor in (kept.keys, kept.values):  # what is masked counts 0 times, and 0 times NaN is NaN
                tensor.zero_()
        lent = KVCache(kept.keys, kept.values, kept.bias, graphs=kept.graphs)
        weakref.finalize(lent, self.free.append, kept)
        return lent

    def __call__(self, x: Tensor, cache: KVCache) -> Tensor:
        """Hidden state [B, D] of the step [B, D] after those of the cache, whose length stays what it is."""
        reach = (cache.length // REACH + 1) * REACH
        device = torch.cuda.device(x.device) if x.is_cuda else nullcontext()
        with device:  # streams and graphs belong to the current one
            if reach not in cache.graphs:
                cache.graphs[reach] = _Recorded(self.transformer, cache, reach, like=x)
            return cache.graphs[reach](x, cache.length)


class _Recorded:
    """A step at any place below `reach`: copies what comes in to where the graph reads it, and replays."""

    def __init__(self, transformer: Transformer, cache: KVCache, reach: int, *, like: Tensor) -> None:
        with torch.inference_mode(False):
            self.x = torch.empty_like(like).copy_(like)
            self.place = torch.full((1,), cache.length, device=like.device)
        # Not the lent cache itself: the graph would keep it from being given back.
        tensors = KVCache(cache.keys, cache.values, cache.bias)
        self.run = lambda: fixed_step(transformer, self.x, tensors, self.place, reach)
        self.graph: torch.cuda.CUDAGraph | None = None
        if like.is_cuda:
            stream = torch.cuda.Stream()
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(WARM_UP):  # each writes the same key and value at the same place
                    self.run()
            torch.cuda.current_stream().wait_stream(stream)
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.result = self.run()

    def __call__(self, x: Tensor, place: int) -> Tensor:
        self.x.copy_(x)
        self.place.fill_(place)
        if self.graph is None:
            return self.run()
        self.graph.replay()
        return self.result.clone()  # the next replay writes there


def fixed_step(transformer: Transformer, x: Tensor, cache: KVCache, place: Tensor, reach: int) -> Tensor:
    """`Transformer.through_blocks` with shapes that do not depend on the place [1] of the step."""
    steps = torch.arange(reach, device=x.device)
    farthest_first = (cache.bias.shape[2] - 1 - place + steps).clamp(max=cache.bias.shape[2] - 1)
    bias = cache.bias.index_select(2, farthest_first).masked_fill(steps > place, -torch.inf)
    return transformer.through_blocks(x, cache, bias, place)
