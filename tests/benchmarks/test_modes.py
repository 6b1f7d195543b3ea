"""Every benchmark runs in every mode, from the machine's line to the last bar: on tiny models, timed once."""

import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import ModuleType

import pytest
import torch

from benchmarks import (
    audit,
    data,
    decode,
    diffusion,
    forms,
    kernels,
    profile,
    tokenizers,
    train,
)
from musiclm.bundle import Bundle
from musiclm.stages import native
from tests.benchmarks.tiny_runs import MODES, Once, bars, cases

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kept_memory")]


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
def test_diffusion(
    options: list[str], run: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (("SECONDS", 0.4), ("QUICK_SECONDS", 0.2), ("TURNS", 1)):
        monkeypatch.setattr(diffusion, name, value)
    lines = run(diffusion, *options)
    by_codes, by_diffusion, one = cases(lines)
    assert by_codes["work"] == f"{0.2 if '--quick' in options else 0.4:g} s of sound by codes"
    assert by_diffusion["forward_passes"] == Bundle.find("default").settings("denoiser")["steps"]
    assert one["a_second"] == pytest.approx(1 / one["seconds"], rel=0.01)
    assert len(bars(lines)) == ("--check" in options) * 3


@pytest.mark.parametrize("options", MODES, ids=" ".join)
def test_data(
    options: list[str], run: Callable[..., list[str]], once: Once, warm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "executable", str(warm / "python"))
    for name, value in {
        "CLIP_SECONDS": 1.0, "CLIPS": 8, "QUICK_CLIPS": 8, "LONG_HOURS": 0.02, "QUICK_LONG_HOURS": 0.02,
        "SHORT_FILES": 3, "QUICK_SHORT_FILES": 3,
        "ROWS": 40, "QUICK_ROWS": 20, "ROWS_IN_A_SHARD": 10, "CROPS": 3, "CROP_SECONDS": 0.5,
        "LABELLED": 20, "SENTENCES": 30, "KILLS": 1, "QUICK_KILLS": 1, "KILLED_WITHIN": 0.01,
    }.items():  # fmt: skip
        monkeypatch.setattr(data, name, value)
    once(data, "tokenizing")
    once(data, "killed")
    once(data, "long_file")
    once(data, "short_files")
    lines = run(data, *options)
    works = [case["work"] for case in cases(lines)]
    assert works[6:8] == [
        f"open a store of {20 if '--quick' in options else 40} recordings",
        "random crops of 0.5 s",
    ]
    assert len(works) == 9
    assert len(bars(lines)) == ("--check" in options) * 9
    assert works[2] == "1 kills, two processes"
    assert cases(lines)[2]["same"]


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


@pytest.mark.filterwarnings("ignore::musiclm.notices.PromptNotice")  # the tiny model has met few words
@pytest.mark.parametrize("options", MODES, ids=" ".join)
def test_forms(
    options: list[str], run: Callable[..., list[str]], once: Once, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each of these is a process of its own, which a test below starts.
    monkeypatch.setattr(forms, "memory", lambda seconds: {f"memory_of_{seconds:g}_s": 100 + seconds / 10})
    monkeypatch.setattr(forms, "command_latency", lambda seed: 3.0)
    once(forms, "latency", runs=1)
    once(forms, "real_time", short=0.5, long=1.0, runs=1)
    once(forms, "audible_seams", seconds=10.0)
    monkeypatch.setattr(forms, "STORY", [(start / 5, text) for start, text in forms.STORY])
    once(forms, "story_parts", seconds=12.0)
    once(forms, "continued", seconds=1.5, num=2)
    once(forms, "inpainted", num=1)
    once(forms, "melody_followed", num=2, seconds=4.0)
    lines = run(forms, *options)
    figures = {key: value for case in cases(lines) for key, value in case.items()}
    assert figures["samples_changed"] == figures["samples_changed_outside"] == 0
    assert figures["borders"] > 10
    assert 0 <= figures["story_parts_nearer_to_their_own"] <= 1
    assert ("memory_of_600_s" in figures) == ("--quick" not in options)
    assert len(bars(lines)) == ("--check" in options) * (15 if "--quick" in options else 16)


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


@pytest.mark.parametrize("benchmark", [audit, data, decode, diffusion, forms, tokenizers, train])
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
