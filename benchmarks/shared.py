"""How a machine is shared: what several threads cost beside busy processes, and what their waits cost alone.

    python -m benchmarks.shared                     alone and beside a busy loop on every CPU, two minutes
    python -m benchmarks.shared --check             every bar with its figure; exits 1 where one falls short
    python -m benchmarks.shared --against FILE.so   another build of the step beside this one as well

One JSON line per case, then a table. What is compared runs in processes of its own, which take turns: music
by the default model as `musiclm generate` makes it, and steps of two sizes. Alone the best turn of either
counts, beside busy loops the median. Another build runs with torch's own settings of threads. To build one:

    git worktree add /tmp/other COMMIT && cd /tmp/other/musiclm/stages/step
    cc -shared -fPIC -O3 -fopenmp-simd -pthread -fno-math-errno -o /tmp/other.so *.c -lm
    # before 2026-11-29: cc -shared -fPIC -O3 -fopenmp -fno-math-errno -o /tmp/other.so ../step.c -lm
"""

import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import torch

from benchmarks.command import begin
from benchmarks.hardware import describe
from benchmarks.report import Bar, judge, say, table
from benchmarks.sizes import SIZES
from musiclm.bundle import Bundle
from musiclm.cpus import usable_cpus
from musiclm.pipeline import MusicLM
from musiclm.stages import native
from musiclm.stages.precision import prepare_to_decode
from musiclm.stages.semantic import Semantic

BESIDE, ALONE = 1.2, 1.03  # ceilings: several threads over one, this build over another
WORKS = ("music", "default", "small")
TURNS, QUICK_TURNS = 9, 3
SECONDS, STEPS = 3.0, 300  # of music; of one row, one after another
PROMPT = "a calm violin melody over soft piano chords"
SERVE = "from benchmarks.shared import serve; serve()"
# As a command does it: the environment before torch, which benchmarks.shared imports.
SHARE = "from musiclm.cpus import share_cpus; share_cpus(); "


def main() -> None:
    options, device = begin(
        "benchmarks.shared",
        __doc__.splitlines()[0],
        quick="fewer turns",
        beside_peers=False,
        against="a compiled step to measure in turns with the installed one",
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
    """Every work with one thread and with several, alone and beside busy loops; with another build alone."""
    for work in WORKS:
        with ExitStack() as stack:
            sides = {"one": side(stack, work, 1), "several": side(stack, work, several)}
            if against is not None:
                sides["other build"] = side(stack, work, several, against)
            yield {"work": work, "busy": 0, **in_turns(sides, turns, min)}
            sides.pop("other build", None)
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


def side(stack: ExitStack, work: str, threads: int, library: Path | None = None) -> Callable[[], float]:
    """A process that does the work when it is asked; returns the seconds that it took."""
    code = SERVE if library else SHARE + SERVE
    command = [sys.executable, "-c", code, work, str(threads), *([str(library)] if library else [])]
    process = stack.enter_context(
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
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


def serve(asked: TextIO = sys.stdin, answers: TextIO = sys.stdout) -> None:
    """In the process of a side: does the command line's work once for each line, and says its seconds."""
    name, threads, *library = sys.argv[1:]
    torch.set_num_threads(int(threads))
    if library:
        native._library = native.load(Path(library[0]))
    work = music() if name == "music" else steps(name)
    for _ in asked:
        started = time.perf_counter()
        work()
        print(time.perf_counter() - started, file=answers, flush=True)


def music() -> Callable[[], object]:
    """Music from words."""
    model = MusicLM.from_pretrained("default")
    return lambda: model.generate(PROMPT, seconds=SECONDS, seed=0)


def steps(size: str) -> Callable[[], object]:
    """Steps in int8, of the default model's semantic stage or of one of a size of benchmarks.sizes."""
    torch.manual_seed(0)
    stage = Bundle.find("default").load("semantic") if size == "default" else Semantic(SIZES[size]).eval()
    transformer = prepare_to_decode(stage, "int8").transformer
    x = torch.randn(1, 1, transformer.config.width)
    cache = transformer.new_cache(1, STEPS)

    @torch.inference_mode()
    def work() -> None:
        cache.length = 0
        for _ in range(STEPS):
            transformer.decode_step(x, cache)

    return work


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
    rows: list[tuple[str, ...]] = [
        ("work", "busy loops", "one thread", "several", "ratio", "other build", "ratio")
    ]
    for case in cases:
        other = case.get("other build")
        rows.append(
            (
                case["work"],
                str(case["busy"]),
                f"{case['one']:.3f} s",
                f"{case['several']:.3f} s",
                f"{case['several'] / case['one']:.2f}",
                "" if other is None else f"{other:.3f} s",
                "" if other is None else f"{case['several'] / other:.3f}",
            )
        )
    return table(rows)


def bars(cases: list[dict[str, Any]]) -> Iterator[Bar]:
    """What must hold."""
    for case in cases:
        if case["busy"]:
            name = f"{case['work']} beside {case['busy']} busy loops: several threads over one"
            yield Bar(name, case["several"] / case["one"], ceiling=BESIDE)
        elif "other build" in case:
            name = f"{case['work']} alone: this build over the other"
            yield Bar(name, case["several"] / case["other build"], ceiling=ALONE)


if __name__ == "__main__":
    main()
