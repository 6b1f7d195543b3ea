"""How a machine is shared: what several threads cost beside busy processes, and what their waits cost alone.

    python -m benchmarks.shared                    alone and beside a busy loop on every CPU, two minutes
    python -m benchmarks.shared --check            every bar with its figure; exits 1 where one falls short
    python -m benchmarks.shared --against FOLDER   another checkout as well, its step built in place

One JSON line per case, then a table. What is compared runs in processes of its own, which take turns: music
by the default model as `musiclm generate` makes it, and steps of two sizes. Alone the best turn of either
counts, beside busy loops the median. To have another checkout:

    git worktree add /tmp/other COMMIT && cd /tmp/other/musiclm/stages
    cc -shared -fPIC -O3 -fno-math-errno -fopenmp -pthread -o _step.so step/*.c -lm     (older ones: step.c)
"""

import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import shared_worker
from benchmarks.command import begin
from benchmarks.hardware import describe
from benchmarks.report import Bar, judge, say, table
from musiclm.machine.cpus import usable_cpus
from musiclm.stages import native

BESIDE, ALONE = 1.2, 1.03  # ceilings: several threads over one, this checkout over another
TURNS, QUICK_TURNS = 9, 3
WORKS = ("music", *shared_worker.STEPS)
SERVE = "import runpy, sys; runpy.run_path(sys.argv.pop(1))['serve']()"
SHARE = (
    "from musiclm.machine.cpus import share_cpus; share_cpus(); "  # as a command does before it imports torch
)


def main() -> None:
    options, device = begin(
        "benchmarks.shared",
        __doc__.splitlines()[0],
        quick="fewer turns",
        beside_peers=False,
        against="another checkout of this project, to measure in turns with this one",
    )
    if not native.available():
        print("expected the compiled step, it was not built: install a C compiler, then the package again")
        sys.exit(2)
    several = max(2, min(options.threads, usable_cpus()))
    say({"machine": describe(device), "cpus": usable_cpus(), "threads": several})
    cases = [
        say(case) for case in measure(several, options.against, turns=QUICK_TURNS if options.quick else TURNS)
    ]
    print()
    print(compare(cases))
    if options.check:
        print()
        judge(bars(cases))


def measure(several: int, against: Path | None, *, turns: int) -> Iterator[dict[str, Any]]:
    """Every work with one thread and with several, alone and beside busy loops; another checkout's alone."""
    for work in WORKS:
        with ExitStack() as stack:
            sides = {"one": side(stack, work, 1), "several": side(stack, work, several)}
            others = {} if against is None else {"other": side(stack, work, several, against)}
            yield {"work": work, "busy": 0, **in_turns(sides | others, turns, min)}
            with busy_loops(usable_cpus()):
                yield {"work": work, "busy": usable_cpus(), **in_turns(sides, turns, statistics.median)}


def in_turns(
    sides: Mapping[str, Callable[[], float]], turns: int, usual: Callable[[list[float]], float]
) -> dict[str, float]:
    """Seconds of each side, of as many turns; the order turns around each time."""
    times: dict[str, list[float]] = {name: [] for name in sides}
    for name in sides:
        sides[name]()  # what only the first time needs
    for turn in range(turns):
        for name in list(sides)[:: 1 if turn % 2 else -1]:
            times[name].append(sides[name]())
    return {name: usual(each) for name, each in times.items()}


def side(stack: ExitStack, work: str, threads: int, checkout: Path | None = None) -> Callable[[], float]:
    """A process that does a work when it is asked, by this checkout or another; returns its seconds."""
    code = SHARE + SERVE if checkout is None else SERVE
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", code, shared_worker.__file__, work, str(threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=checkout or Path(__file__).parent.parent,  # where it imports from
        )
    )
    assert process.stdin is not None
    stack.callback(process.stdin.close)  # it ends then
    return partial(_ask, process)


def _ask(process: subprocess.Popen[str]) -> float:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    answer = process.stdout.readline()
    if not answer:
        raise OSError("expected the seconds that a work took, its process has ended")
    return float(answer)


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Processes that never stop."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def compare(cases: list[dict[str, Any]]) -> str:
    """A table of seconds and ratios."""
    rows: list[tuple[str, ...]] = [("work", "busy loops", "one thread", "several", "ratio", "other", "ratio")]
    for case in cases:
        other = case.get("other")
        rows.append(
            (
                case["work"],
                str(case["busy"]),
                f"{case['one']:.3f} s",
                f"{case['several']:.3f} s",
                f"{case['several'] / case['one']:.2f}",
                "" if other is None else f"{other:.3f} s",
                "" if other is None else f"{case['several'] / other:.2f}",
            )
        )
    return table(rows)


def bars(cases: list[dict[str, Any]]) -> Iterator[Bar]:
    """What must hold."""
    for case in cases:
        if case["busy"]:
            name = f"{case['work']} beside {case['busy']} busy loops: several threads over one"
            yield Bar(name, case["several"] / case["one"], ceiling=BESIDE)
        elif "other" in case:
            name = f"{case['work']} alone: this checkout over the other"
            yield Bar(name, case["several"] / case["other"], ceiling=ALONE)


if __name__ == "__main__":
    main()
