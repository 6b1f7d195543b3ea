"""Sizes and modes that benchmarks run with in tests, and what they have printed."""

import json
from collections.abc import Callable
from typing import Any

from benchmarks import (
    audit,
    data,
    decode,
    diffusion,
    forms,
    kernels,
    patterns,
    profile,
    shared_worker,
    tokenizers,
    train,
)
from musiclm.stages.transformer import TransformerConfig

TINY = {
    name: TransformerConfig(width=32, layers=2, heads=2, feed_forward=48, dropout=0.0)
    for name in ("small", "paper")
}
MEASURING = (
    audit,
    data,
    decode,
    diffusion,
    forms,
    kernels,
    patterns,
    profile,
    shared_worker,
    tokenizers,
    train,
)
MODES = ([], ["--quick"], ["--check"], ["--quick", "--check"])
Once = Callable[..., None]


def call_once(work: Callable[[], object], *_: object, **__: object) -> float:
    """In place of `usual_time`: the work is done, and is said to take 50 ms."""
    work()
    return 0.05


def cases(lines: list[str]) -> list[dict[str, Any]]:
    """The JSON lines, without the machine's."""
    return [json.loads(line) for line in lines if line.startswith("{")][1:]


def bars(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(("holds", "SHORT"))]
