"""Every benchmark runs in every mode, from the machine's line to the last bar: on tiny models, timed once."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from benchmarks import (
    audit,
    command,
    data,
    decode,
    forms,
    hardware,
    kernels,
    patterns,
    peers,
    profile,
    shared,
    shared_worker,
    tokenizers,
    train,
)
from musiclm import bundle as bundles
from musiclm.bundle import Bundle, build, merge, save_component
from musiclm.data.token_crops import TokenCrops
from musiclm.stages import native
from musiclm.stages.coarse import Coarse
from musiclm.stages.transformer import TransformerConfig
from tests.tiny import make_token_store
from tests.tiny_model import PARTS, make_bundle, words_of

TINY = {
    name: TransformerConfig(width=32, layers=2, heads=2, feed_forward=48, dropout=0.0)
    for name in ("small", "paper")
}
pytestmark = pytest.mark.slow
MEASURING = (audit, data, decode, forms, kernels, patterns, profile, shared_worker, tokenizers, train)
MODES = ([], ["--quick"], ["--check"], ["--quick", "--check"])


def call_once(work: Callable[[], object], *_: object, **__: object) -> float:
    """In place of `usual_time`: the work is done, and is said to take 50 ms."""
    work()
    return 0.05


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
    make_bundle(folder, melody=True).rename(folder / "default")
    return folder


@pytest.fixture(autouse=True)
def kept_memory(shipped: Path, monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """Everything is tiny and measured once; notes whether freed memory is kept."""
    kept: list[bool] = []
    monkeypatch.setattr(bundles, "SHIPPED", shipped)
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


Once = Callable[..., None]


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


def cases(lines: list[str]) -> list[dict[str, Any]]:
    """The JSON lines, without the machine's."""
    return [json.loads(line) for line in lines if line.startswith("{")][1:]


def bars(lines: list[str]) -> list[str]:
    return [line for line in lines if line.startswith(("holds", "SHORT"))]


@pytest.mark.parametrize("options", MODES, ids=" ".join)
def test_decode(options: list[str], run: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FULL", "QUICK", "CHECK"):
        plan = getattr(decode, name)
        lengths = {key: tuple(range(3, 3 + len(steps))) for key, steps in plan.lengths.items()}
        theirs = dict.fromkeys(plan.peers, (3,))
        monkeypatch.setattr(decode, name, replace(plan, lengths=lengths, peers=theirs))
    tiny = {"NEAR": 4, "FAR": 16, "AROUND": 2, "PAPER_STEPS": 3, "BATCH_STEPS": 3, "SMALL_STEPS": 3}
    for name, value in tiny.items():
        monkeypatch.setattr(decode, name, value)
    monkeypatch.setattr(decode.precision_losses, "__defaults__", (12,))
    lines = run(decode, *options)
    measured = cases(lines)
    # of three lengths, two batches, two sizes and three precisions; elsewhere of one length
    ours = [case for case in measured if "share_of_bandwidth" in case]
    assert len(ours) == (12 if options else 36)
    assert len([case for case in measured if "kl_nats" in case]) == 6
    assert len([case for case in measured if "cost_ratio" in case]) == (0 if "--quick" in options else 3)
    compared = {case["compared"] for case in measured if "ratio" in case}
    assert len(compared) == (9 if options == ["--check"] else 0)
    judged = {(): 0, ("--quick",): 0, ("--check",): 9 + 6 + 3, ("--quick", "--check"): 6}
    assert len(bars(lines)) == judged[tuple(options)]
    assert sum(line.startswith(("audiolm", "MusicGen", "musiclm")) for line in lines) == len(ours) + 6


@pytest.mark.parametrize("options", MODES, ids=" ".join)
def test_train(options: list[str], run: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train, "LENGTHS", (8, 16))
    lines = run(train, *options)
    lengths = 1 if "--quick" in options else 2
    assert len(cases(lines)) == 2 * lengths * 3  # of two sizes: two precisions of ours, one of the peer's
    assert len(bars(lines)) == ("--check" in options) * 2 * lengths * 2


@pytest.mark.parametrize("options", MODES, ids=" ".join)
def test_tokenizers(
    options: list[str], run: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("SECONDS", 1.5), ("QUICK_SECONDS", 1.0), ("PAPER_SECONDS", 0.2)):
        monkeypatch.setattr(tokenizers, name, seconds)
    lines = run(tokenizers, *options)
    seconds = [case["audio_seconds"] for case in cases(lines)]
    assert seconds == ([1.0] * 6 if "--quick" in options else [1.5] * 6 + [0.2] * 4)
    assert len(bars(lines)) == ("--check" in options) * 3


@pytest.mark.parametrize("options", MODES, ids=" ".join)
def test_data(
    options: list[str], run: Callable[..., list[str]], once: Once, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "CLIP_SECONDS": 1.0, "CLIPS": 8, "QUICK_CLIPS": 8, "LONG_HOURS": 0.02, "QUICK_LONG_HOURS": 0.02,
        "ROWS": 40, "QUICK_ROWS": 20, "ROWS_IN_A_SHARD": 10, "CROPS": 3, "CROP_SECONDS": 0.5,
        "LABELLED": 20, "SENTENCES": 30,
    }.items():  # fmt: skip
        monkeypatch.setattr(data, name, value)
    once(data, "tokenizing")
    once(data, "long_file")
    lines = run(data, *options)
    works = [case["work"] for case in cases(lines)]
    assert works[3:5] == [
        f"open a store of {20 if '--quick' in options else 40} recordings",
        "random crops of 0.5 s",
    ]
    assert len(works) == 6
    assert len(bars(lines)) == ("--check" in options) * 6


@pytest.mark.parametrize("options", MODES, ids=" ".join)
def test_audit(
    options: list[str], run: Callable[..., list[str]], once: Once, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RECORDINGS": 24, "GUARDED": 12, "QUICK_GUARDED": 10, "SECONDS": 15.0}.items():
        monkeypatch.setattr(audit, name, value)
    few = {"examples": 8, "prompt_tokens": [0], "negatives": 12, "false_positive_rate": 0.5, "audio": False}
    monkeypatch.setattr(audit, "audit", partial(audit.audit, **few))
    once(audit, "sampled_tokens", count=4)
    once(audit, "pairs_per_second", pairs=20)
    if "--quick" not in options:  # which has recordings of its own to guard
        once(audit, "guard_cost")
    once(audit, "whole_audit")
    lines = run(audit, *options)
    figures = {key: value for case in cases(lines) for key, value in case.items()}
    assert figures["guarded_recordings"] == (10 if "--quick" in options else 12)
    assert ("audit_seconds" in figures) == ("--quick" not in options)
    assert len(bars(lines)) == ("--check" in options) * (2 if "--quick" in options else 3)


@pytest.mark.parametrize("options", MODES, ids=" ".join)
def test_forms(
    options: list[str], run: Callable[..., list[str]], once: Once, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each of these is a process of its own, which a test below starts.
    monkeypatch.setattr(forms, "memory", lambda seconds: {f"memory_of_{seconds:g}_s": 100 + seconds / 10})
    monkeypatch.setattr(forms, "command_latency", lambda seed: 3.0)
    once(forms, "latency", runs=1)
    once(forms, "real_time", short=0.5, long=1.0, runs=1)
    once(forms, "audible_seams", seconds=6.0)
    monkeypatch.setattr(forms, "STORY", [(start / 5, text) for start, text in forms.STORY])
    once(forms, "story_parts", seconds=12.0)
    once(forms, "continued", seconds=1.5, num=2)
    once(forms, "melody_followed", num=2, seconds=4.0)
    lines = run(forms, *options)
    figures = {key: value for case in cases(lines) for key, value in case.items()}
    assert figures["samples_changed"] == 0
    assert figures["borders"] > 10
    assert 0 <= figures["story_parts_nearer_to_their_own"] <= 1
    assert ("memory_of_600_s" in figures) == ("--quick" not in options)
    assert len(bars(lines)) == ("--check" in options) * (12 if "--quick" in options else 13)


def test_commands_of_the_forms_are_timed_and_their_memory_measured(
    warm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(warm / "python"))
    assert forms.command_latency(0) > 0
    assert forms.memory(0.5)["memory_of_0.5_s"] > 100


def test_kernels(run: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "LAYERS", 1)
    measured = cases(run(kernels))
    assert len([case for case in measured if "product" in case]) == 2 * (7 + 3 * native.available())
    assert len([case for case in measured if "attention" in case]) == 8
    assert len([case for case in measured if "attention in training" in case]) == 6


@pytest.mark.skipif(not native.available(), reason="the step was not compiled")
def test_profile(run: Callable[..., list[str]]) -> None:
    lines = run(profile)
    assert len(cases(lines)) == 2 * 3 * 2  # sizes, precisions, positions
    assert sum("%)" in line for line in lines) == 12


@pytest.fixture(scope="module")
def works() -> dict[str, Callable[[], object]]:
    """What the sides of `shared` do, made once."""
    return {}


@pytest.mark.skipif(not native.available(), reason="the step was not compiled")
@pytest.mark.parametrize("options", [*MODES, ["--check", "--against", "elsewhere"]], ids=" ".join)
def test_shared(
    options: list[str],
    run: Callable[..., list[str]],
    works: dict[str, Callable[[], object]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared, "TURNS", 2)
    monkeypatch.setattr(shared, "QUICK_TURNS", 1)
    monkeypatch.setattr(shared_worker, "SECONDS", 0.1)
    monkeypatch.setattr(shared_worker, "STEPS", {"default": 2, "small": 2})
    monkeypatch.setattr(shared, "usable_cpus", lambda: 3)
    monkeypatch.setattr(shared, "busy_loops", lambda count: nullcontext())

    def asked(work: str, threads: int) -> float:
        if work not in works:
            works[work] = shared_worker.music() if work == "music" else shared_worker.steps(work)
        works[work]()
        return 0.01 * threads

    # In place of a process for each side, which a test below starts.
    monkeypatch.setattr(shared, "side", lambda stack, work, threads, *_: partial(asked, work, threads))
    lines = run(shared, *options, "--threads", "1")
    measured = cases(lines)
    expected = [(work, busy) for work in shared.WORKS for busy in (0, 3)]
    assert [(case["work"], case["busy"]) for case in measured] == expected
    assert all(case["several"] == pytest.approx(2 * case["one"]) for case in measured)
    assert ["other" in case for case in measured] == ["--against" in options, False] * 3
    assert len(bars(lines)) == ("--check" in options) * (6 if "--against" in options else 3)


def test_busy_loops_end_with_what_is_measured_beside_them() -> None:
    started: list[subprocess.Popen[bytes]] = []
    with pytest.MonkeyPatch.context() as patch:
        popen = subprocess.Popen
        patch.setattr(subprocess, "Popen", lambda command: started.append(popen(command)) or started[-1])
        with shared.busy_loops(2):
            assert [loop.poll() for loop in started] == [None, None]
    assert [loop.returncode for loop in started] == [-signal.SIGKILL] * 2


@pytest.mark.skipif(not native.available(), reason="the step was not compiled")
def test_a_side_is_a_process_that_works_when_it_is_asked(warm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", str(warm / "python"))
    with ExitStack() as stack:
        ask = shared.side(stack, "default", 1)
        assert ask() > 0
        assert ask() > 0
    with ExitStack() as stack, pytest.raises(OSError, match="its process has ended"):
        shared.side(stack, "no such work", 1)()


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


@pytest.mark.parametrize("benchmark", [audit, data, decode, forms, tokenizers, train])
def test_threads_and_memory_are_as_the_options_say(
    benchmark: ModuleType, kept_memory: list[bool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the options that all of them share, tried where the work would begin."""
    monkeypatch.setattr(benchmark, "say", lambda machine: (_ for _ in ()).throw(EOFError))
    for options, keeps in (([], True), (["--return-memory"], False)):
        monkeypatch.setattr(sys, "argv", [benchmark.__name__, "--threads", "2", *options])
        with pytest.raises(EOFError):
            benchmark.main()
        assert torch.get_num_threads() == 2
        assert kept_memory == [True] * keeps
        kept_memory.clear()
