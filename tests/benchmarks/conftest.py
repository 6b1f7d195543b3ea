"""What benchmarks run with in tests: tiny models, measured once, beside stand-ins for their peers."""

import json
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks import (
    command,
    hardware,
    peers,
)
from musiclm.bundle import Bundle, reading
from tests.benchmarks.tiny_runs import MEASURING, TINY, Once, bars, call_once
from tests.tiny_model import make_bundle


class TheirTransformer(nn.Module):
    """In place of audiolm-pytorch's, which tests do not install."""

    def __init__(self, *, dim: int, depth: int, heads: int, num_semantic_tokens: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_semantic_tokens, dim)
        self.to_logits = nn.Linear(dim, num_semantic_tokens + 1)

    def forward_with_cond_scale(self, ids: Tensor) -> Tensor:
        return self.to_logits(self.embedding(ids))


class TheirWrapper(nn.Module):
    """In place of audiolm-pytorch's loop and loss."""

    def __init__(self, *, transformer: TheirTransformer, **options: object) -> None:
        super().__init__()
        self.transformer = transformer

    def generate(self, *, max_length: int, batch_size: int) -> None:
        for _ in range(max_length):
            self.transformer.forward_with_cond_scale(torch.zeros(batch_size, 1, dtype=torch.int64))

    def forward(self, *, semantic_token_ids: Tensor, return_loss: bool) -> Tensor:
        return self.transformer.forward_with_cond_scale(semantic_token_ids).logsumexp(dim=-1).mean()


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the bundle `default` is a tiny one."""
    folder = tmp_path_factory.mktemp("shipped")
    make_bundle(folder, melody=True, diffusion=True, tokens=True).rename(folder / "default")
    return folder


@pytest.fixture
def kept_memory(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Everything is tiny and measured once; notes whether freed memory is kept."""
    kept: list[bool] = []
    monkeypatch.setattr(reading, "SHIPPED", shipped)
    assert Bundle.find("default").path == shipped / "default"  # or tiny lengths would be of the large model
    monkeypatch.setattr(peers, "check_installed", lambda: None)
    theirs = SimpleNamespace(SemanticTransformer=TheirTransformer, SemanticTransformerWrapper=TheirWrapper)
    monkeypatch.setattr(peers, "audiolm_module", lambda: theirs)
    for module in (*MEASURING, hardware, command):
        for name, tiny in {
            "SIZES": TINY,
            "usual_time": call_once,
            "bandwidth": partial(hardware.bandwidth, megabytes=1),
            "matmul_rate": partial(hardware.matmul_rate, size=16),
            "keep_freed_memory": lambda: kept.append(True),
        }.items():
            if module is not hardware or name == "usual_time":
                monkeypatch.setattr(module, name, tiny, raising=False)
    return kept


@pytest.fixture(scope="module")
def results() -> dict[str, Any]:
    """Of functions that are called in several modes and need not be measured in each."""
    return {}


@pytest.fixture
def once(results: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Once:
    """Has a benchmark's function called once, with some values; other modes are given the same result."""

    def once(benchmark: ModuleType, name: str, **values: Any) -> None:
        work, key = getattr(benchmark, name), f"{benchmark.__name__}.{name}"

        def again(*arguments: Any, **others: Any) -> Any:
            if key not in results:
                results[key] = work(*arguments, **(others | values))
            return results[key]

        monkeypatch.setattr(benchmark, name, again)

    return once


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Runs a benchmark as `python -m` does; returns what it printed. Bars may fall short: all is tiny."""

    def run(benchmark: ModuleType, *options: object) -> list[str]:
        monkeypatch.setattr(sys, "argv", [benchmark.__name__, *map(str, options)])
        short = 0
        try:
            benchmark.main()
        except SystemExit as stop:
            short = stop.code
        lines = capsys.readouterr().out.splitlines()
        assert "machine" in json.loads(lines[0])
        assert short == any(line.startswith("SHORT") for line in lines)
        assert ("--check" in options) == bool(bars(lines))
        return lines

    return run
