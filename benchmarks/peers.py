"""Today's open implementations at the same sizes: what ours is compared with.

Both come with `make bench-setup`. Each peer is called as its own documentation says, with its own caching on.
"""

import importlib
import importlib.util
import itertools
import sys
import time
import types
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from benchmarks.sizes import CODEBOOK_SIZE
from musiclm.stages.transformer import TransformerConfig


def check_installed() -> None:
    """Exit with one line where a peer is missing."""
    missing = [name for name in ("audiolm_pytorch", "transformers") if importlib.util.find_spec(name) is None]
    if missing:
        print(f"expected the peers to compare with, {', '.join(missing)} missing: run make bench-setup")
        sys.exit(2)


def audiolm_module() -> Any:
    """audiolm-pytorch's module of stages. What it wants beside them is not used here: fairseq, which fails on
    Python 3.11, and a T5 from the network, of which it asks the width even where there is no text.
    """
    sys.modules.setdefault("fairseq", types.ModuleType("fairseq"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module: Any = importlib.import_module("audiolm_pytorch.audiolm_pytorch")
    module.get_encoded_dim = lambda name: 768
    module.tqdm = lambda steps, **_: steps  # its progress bars are no part of what is compared
    return module


def audiolm_stage(config: TransformerConfig) -> nn.Module:
    """Its semantic transformer: one code per step, no condition."""
    model = audiolm_module().SemanticTransformer(
        dim=config.width, depth=config.layers, heads=config.heads, num_semantic_tokens=CODEBOOK_SIZE
    )
    with torch.no_grad():
        model.to_logits.bias[-1] = -1e9  # the end never comes, so that every run has its full length
    return model


def audiolm_generate(model: nn.Module, *, batch: int, steps: int) -> list[float]:
    """Seconds of each of `steps` steps of its own generation loop, from nothing."""
    wrapper = audiolm_module().SemanticTransformerWrapper(transformer=model, unique_consecutive=False)
    times: list[float] = []
    with timed_calls(wrapper.transformer, "forward_with_cond_scale", times):
        wrapper.generate(max_length=steps, batch_size=batch)
        times.append(time.perf_counter())
    return [end - start for start, end in itertools.pairwise(times)]


def musicgen_stage(config: TransformerConfig) -> Any:
    """transformers' MusicGen decoder: four codes per step, cross-attention to a condition."""
    from transformers import MusicgenDecoderConfig, MusicgenForCausalLM

    words = MusicgenDecoderConfig(
        vocab_size=CODEBOOK_SIZE,
        num_hidden_layers=config.layers,
        ffn_dim=config.feed_forward,
        num_attention_heads=config.heads,
        hidden_size=config.width,
        num_codebooks=4,
        dropout=0.0,
        attention_dropout=0.0,
        activation_dropout=0.0,
    )
    return MusicgenForCausalLM(words).eval()


@torch.inference_mode()
def musicgen_generate(model: Any, *, batch: int, steps: int) -> list[float]:
    """Seconds of each of `steps` steps with its own caches, drawing every code."""
    from transformers import DynamicCache, EncoderDecoderCache

    cache = EncoderDecoderCache(DynamicCache(), DynamicCache())  # without it encoder states are read wrongly
    condition = torch.randn(batch, 12, model.config.hidden_size)
    codes = torch.zeros(batch * 4, 1, dtype=torch.int64)
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        said = model(codes, encoder_hidden_states=condition, past_key_values=cache, use_cache=True)
        codes = torch.multinomial(said.logits[:, -1].softmax(dim=-1), 1)
        times.append(time.perf_counter() - start)
    return times


class timed_calls:
    """Within it, every call of a method notes the time at which it began."""

    def __init__(self, owner: nn.Module, name: str, times: list[float]) -> None:
        self.owner, self.name, self.times = owner, name, times

    def __enter__(self) -> None:
        method: Callable[..., Tensor] = getattr(self.owner, self.name)

        def noted(*args: object, **kwargs: object) -> Tensor:
            self.times.append(time.perf_counter())
            return method(*args, **kwargs)

        setattr(self.owner, self.name, noted)

    def __exit__(self, *_: object) -> None:
        delattr(self.owner, self.name)
