"""Sides of a shared machine: each is a process that works when it is asked, beside busy loops."""

import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import ExitStack, nullcontext
from functools import partial
from pathlib import Path

import pytest

from benchmarks import (
    shared,
    shared_worker,
)
from musiclm.stages import native
from tests.benchmarks.tiny_runs import MODES, bars, cases

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("kept_memory")]


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
