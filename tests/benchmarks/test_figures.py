"""Benchmarks: what they measure is what is said, and a bar that is missed is named and fails the run."""

import importlib.util
import math
import sys
from typing import get_args

import pytest
import torch

from benchmarks import decode, forms, hardware, kernels, patterns, profile, tokenizers, train
from benchmarks.report import Bar, judge, table
from musiclm.bundle import Bundle
from musiclm.stages import native
from musiclm.stages.coarse import Coarse
from musiclm.stages.layout import Pattern
from musiclm.stages.precision import Precision
from tests.benchmarks.tiny_runs import TINY, call_once
from tests.tokenizers.tiny_codecs import fill_codebooks, seanet_codec

CPU = torch.device("cpu")


def test_a_bar_that_falls_short_is_named_and_the_run_fails(capsys: pytest.CaptureFixture[str]) -> None:
    judge([Bar("speed", 2.0, floor=1.5), Bar("loss", 0.1, ceiling=0.2)])
    with pytest.raises(SystemExit) as stop:
        judge([Bar("speed", 1.0, floor=1.5), Bar("loss", 0.3, ceiling=0.2), Bar("same", 1.0, floor=1.0)])
    assert stop.value.code == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["holds", "holds", "SHORT", "SHORT", "holds"]
    assert "speed: 1 (at least 1.5)" in lines[2]
    assert "loss: 0.3 (at most 0.2)" in lines[3]


def test_a_table_stands_in_columns() -> None:
    lines = table([("name", "x"), ("long name", 1), ("b", 22)]).splitlines()
    assert [line.find(cell) for line, cell in zip((lines[0], *lines[2:]), ("x", "1", "22"), strict=True)] == [
        11
    ] * 3


def test_without_the_peers_one_line_says_how_to_get_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    for benchmark in (decode, train):
        monkeypatch.setattr(sys, "argv", ["benchmark", "--quick"])
        with pytest.raises(SystemExit) as stop:
            benchmark.main()
        assert stop.value.code == 2
        assert "run make bench-setup" in capsys.readouterr().out


@pytest.mark.parametrize("precision", get_args(Precision))
def test_a_case_counts_every_step_and_every_byte(
    precision: Precision, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decode, "SIZES", TINY)
    stage = decode.ours("small", precision, CPU)
    case, early = decode.our_cases(stage, "small", 3, (4, 9), precision, limit=1e9)
    assert (case["steps"], early["steps"]) == (9, 4)
    assert early["steps"] / early["steps_per_second"] < case["steps"] / case["steps_per_second"]
    assert case["tokens_per_second"] == pytest.approx(3 * case["steps_per_second"])
    block = sum(weight.numel() for name, weight in decode.Semantic(TINY["small"]).named_parameters()
                if name.startswith("transformer.blocks.0.") and weight.ndim == 2)  # fmt: skip
    moved = {"float32": 4, "bfloat16": 2, "int8": 1}[precision] * (2 * block + 1024 * 32)
    size = {"float32": 4, "bfloat16": 2, "int8": 1}[precision] if native.available() else 4
    scales = 4 * 2 if native.available() and precision == "int8" else 0  # of 2 heads
    cached = 2 * 2 * 3 * (size * 32 + scales) * (9 // 2)  # keys and values of 2 layers, 3 rows, width 32
    assert case["share_of_bandwidth"] == pytest.approx((moved + cached) * case["steps_per_second"] / 1e9)


def test_training_counts_six_operations_per_weight_and_token(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = train.Semantic(TINY["small"], pattern="flatten").train()
    step = train.ours(stage, 16, "float32", CPU)
    step()
    assert all(parameter.grad is not None for parameter in stage.transformer.parameters())
    monkeypatch.setattr(train, "usual_time", lambda *_, **__: 2.0)
    monkeypatch.setattr(train, "matmul_rate", lambda *_, **__: 1e6)
    case = train.timed("musiclm", "small", 16, "float32", step, (TINY["small"], stage, CPU))
    matrices = 2 * (4 * 32**2 + 3 * 32 * 48) + 1024 * 32
    assert case["gflops"] * 1e9 == pytest.approx(16 * (6 * matrices + 12 * 2 * 32 * 16) / 2.0)
    assert case["tokens_per_second"] == 8.0
    assert case["share_of_matmul"] == pytest.approx(case["gflops"] * 1e9 / 1e6)


@pytest.mark.skipif(not native.available(), reason="the step was not compiled")
@pytest.mark.parametrize("precision", get_args(Precision))
def test_the_parts_of_a_step_add_up_to_it(precision: Precision, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = decode.prepare_to_decode(decode.Semantic(TINY["small"], pattern="flatten"), precision)
    monkeypatch.setattr(profile, "usual_time", call_once)
    times = profile.measure(stage, 5)
    assert set(times.values()) == {50.0}
    times = {name: 2.0**place for place, name in enumerate(reversed(times))}
    parts = profile.divide(times)
    assert parts["attention"] == times["blocks"] - times["blocks, first step"]
    assert sum(parts.values()) == pytest.approx(2 * times["whole"])
    assert "100%" in profile.shares([{"size": "small", "precision": precision, "position": 5, **parts}])


def test_the_compiled_products_stand_beside_the_other_ways(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "SIZES", {"paper": TINY["small"]})
    monkeypatch.setattr(kernels, "usual_time", call_once)
    cases = list(kernels.products())
    assert {case["rows"] for case in cases} == {1, 8}
    compiled = {case["product"] for case in cases if case["product"].endswith("step.c")}
    assert len(compiled) == (3 if native.available() else 0)
    assert len(list(kernels.attentions())) == 8


def test_real_time_is_seconds_of_music_in_a_second(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tokenizers, "usual_time", call_once)
    codec = fill_codebooks(seanet_codec())
    waveform = tokenizers.music(1.25, codec.sample_rate)
    assert waveform.shape == (1, 1, 30_000)
    assert waveform.abs().max() <= 1
    cases = list(tokenizers.codec_cases("SoundStream", codec, waveform))
    assert [case["work"] for case in cases] == ["encode", "decode", "streamed encode", "streamed decode"]
    for case in cases:
        assert case["real_time"] == pytest.approx(25.0)
        assert case["bits_per_second"] == 450
    assert cases[-1]["latency_seconds"] == 0
    others = [tokenizers.timed(name, "encode", lambda: None, waveform, 24_000)
              for name in ("w2v-BERT, k-means", "MuLan")]  # fmt: skip
    others[-1]["real_time"] = 19.0
    with pytest.raises(SystemExit):
        judge(tokenizers.bars(cases + others))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["holds", "holds", "SHORT"]


def test_a_bar_of_the_forms_that_falls_short_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    names = ["first_audio_seconds", "long_to_short", "memory_of_600_s", "samples_changed"]
    for name in forms.MEASURES:
        names += [f"{name}_beyond", f"{name}_rank", f"joint_{name}_rank"]
    good = dict.fromkeys(names, 0.0) | {"story_parts_nearer_to_their_own": 1, "memory_of_60_s": 100}
    good |= {"melody_cosine": 0.6, "melody_margin": 0.2}
    judge(forms.bars(good))
    bad = dict.fromkeys(names, 2.1) | {"story_parts_nearer_to_their_own": 0.75, "memory_of_600_s": 121}
    bad |= {"memory_of_60_s": 100, "melody_cosine": 0.59, "melody_margin": 0.19}
    capsys.readouterr()
    with pytest.raises(SystemExit):
        judge(forms.bars(bad))
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == ["SHORT"] * 13


def test_the_limits_are_plausible() -> None:
    assert 1e8 < hardware.bandwidth(CPU, megabytes=16, seconds=0.05) < 1e13
    assert 1e8 < hardware.matmul_rate(CPU, torch.float32, size=64, seconds=0.05) < 1e15


@pytest.mark.parametrize("pattern", ["flatten", "delay"])
def test_both_patterns_are_judged_by_the_likelihood_of_a_whole_frame(pattern: Pattern) -> None:
    torch.manual_seed(0)
    stage = Coarse(TINY["small"], pattern=pattern).eval()
    acoustic = torch.randint(1024, (2, 12, 12), generator=torch.Generator().manual_seed(1))
    batch = {
        "mulan": torch.zeros(2, 12, 1, dtype=torch.int64),
        "semantic": torch.zeros(2, 1, 6, dtype=torch.int64),
        "acoustic": acoustic,
    }
    figures = patterns.measure(stage, [batch], Bundle.find("default"))
    # A model that has learned nothing finds all of 1024 entries alike, at each of four levels.
    assert figures["nats_per_frame"] == pytest.approx(4 * math.log(1024), rel=0.05)
    assert figures["nats_per_frame"] == pytest.approx(sum(figures["nats_per_code"]), abs=0.01)
    assert figures["fad"] > 0


def test_what_is_compared_is_measured_in_turns_and_the_best_of_either_counts() -> None:
    order: list[str] = []
    slow, fast = iter([2.0, 1.0, 1.5]), iter([3.0, 8.0, 2.0])

    def first() -> float:
        order.append("first")
        return next(slow)

    def second() -> float:
        order.append("second")
        return next(fast)

    case = decode.in_turns("it", first, second, floor=5, turns=3)
    assert order == ["first", "second"] * 3
    assert case["ratio"] == 4.0
    assert [bar.holds for bar in decode.bars([case])] == [False]
