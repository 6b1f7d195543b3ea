"""Flatten or delay: stages of either pattern stand side by side."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks import (
    patterns,
)
from musiclm.bundle import Bundle, build, merge, save_component
from musiclm.data.token_crops import TokenCrops
from musiclm.stages.coarse import Coarse
from tests.benchmarks.tiny_runs import TINY, cases
from tests.tiny import make_token_store
from tests.tiny_model import PARTS, words_of

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kept_memory")]


def test_patterns(
    run: Callable[..., list[str]], shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patterns, "ROWS", 2)
    monkeypatch.setattr(patterns, "SECONDS", 1.0)
    make_token_store(tmp_path / "tokens", (3.0, 3.0))
    words: dict[str, Any] = {}
    streams = TokenCrops(tmp_path / "tokens", 1.0).streams
    runs = [tmp_path / pattern for pattern in ("delay", "flatten")]
    for folder in runs:
        words["pattern"] = folder.name
        known = {"streams": [stream.words() for stream in streams]}
        spec = words_of("stages.coarse.Coarse", transformer=vars(TINY["small"]), **words, **known)
        save_component(
            folder / "part",
            "coarse_stage",
            Coarse(TINY["small"], streams=streams, **words),
            storage="float32",
            **spec,
        )
    sizes = {"num_quantizers": 12, "codebook_size": 1024}
    spec = words_of("tokenizers.soundstream.SoundStream", **PARTS["codec"]["init_args"] | sizes)
    codec = save_component(tmp_path / "codec", "codec", build(**spec), storage="float32", **spec)
    mulan = merge([Bundle(shipped / "default")], tmp_path / "mulan", {}, only=["joint_embedding"])
    bundle = merge([mulan, codec], tmp_path / "bundle", {}).path
    options = ("--tokens", tmp_path / "tokens", "--clips", 4, "--bundle", bundle)
    lines = run(patterns, *options, "--runs", *runs)
    assert [case["pattern"] for case in cases(lines)] == ["delay", "flatten"]
    assert sum(line.startswith(("delay", "flatten")) for line in lines) == 2
