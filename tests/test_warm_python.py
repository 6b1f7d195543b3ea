"""A warm interpreter behaves as a fresh one: streams, folder, exit code, signals."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

WAITING = "import time; print('here', flush=True); time.sleep(60)"


def run(warm: Path, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([warm / "python", *words], capture_output=True, text=True, **options)  # type: ignore[call-overload]


def test_it_has_its_own_arguments_streams_folder_and_environment(warm: Path, tmp_path: Path) -> None:
    code = "import os, sys; print(sys.argv, sys.stdin.read(), os.getcwd(), os.environ['X'], file=sys.stderr)"
    done = run(warm, "-c", code, "a b", "", input="in", cwd=tmp_path, env={**os.environ, "X": "y"})
    assert (done.returncode, done.stdout) == (0, "")
    assert done.stderr == f"['-c', 'a b', ''] in {tmp_path} y\n"


def test_a_module_is_run_as_the_main_one(warm: Path, tmp_path: Path) -> None:
    (tmp_path / "tiny_module.py").write_text("import sys; print(__name__, sys.argv[1:])")
    assert run(warm, "-m", "tiny_module", "x", cwd=tmp_path).stdout == "__main__ ['x']\n"


@pytest.mark.parametrize(
    ("code", "status", "said"),
    [
        ("raise SystemExit(3)", 3, ""),
        ("raise SystemExit('no')", 1, "no\n"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero\n"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", -signal.SIGTERM, ""),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", -signal.SIGKILL, ""),
    ],
)
def test_it_ends_as_an_interpreter_does(warm: Path, code: str, status: int, said: str) -> None:
    done = run(warm, "-c", code)
    assert done.returncode == status
    assert done.stderr.endswith(said)


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_reaches_it(warm: Path, number: signal.Signals) -> None:
    command = [warm / "python", "-c", f"import os; print(os.getpid()); {WAITING}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout
        own = int(process.stdout.readline())
        process.send_signal(number)
        assert process.wait(timeout=30) == -number
        process.stdout.read()  # ends when nobody writes any more
    deadline = time.monotonic() + 30
    while is_alive(own):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_command_is_the_one_under_test(warm: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [warm / "musiclm", "bundle", "info", "none"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stderr.startswith("musiclm bundle info: expected a bundle")


def test_its_processes_are_warm_too(warm: Path) -> None:
    code = """
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
    print(sorted(pool.map(pow, [2, 3], [2, 2])), multiprocessing.spawn.get_executable().decode())
"""
    assert run(warm, "-c", code).stdout == f"[4, 9] {warm / 'python'}\n"


def test_a_group_that_is_killed_leaves_nothing(warm: Path) -> None:
    """The processes of a pool, which wait for work that never comes, end with the one that leads them."""
    code = f"""
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
    own = {{job.result() for job in [pool.submit(os.getpid) for _ in range(20)]}}
    print(os.getpid(), *own)
    {WAITING}
"""
    command = [warm / "python", "-c", code]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert process.stdout
        left = [int(number) for number in process.stdout.readline().split()]
        assert len(left) > 1
        os.killpg(process.pid, signal.SIGKILL)
        assert process.wait(timeout=30) == -signal.SIGKILL
        process.stdout.read()
    deadline = time.monotonic() + 30
    while any(map(is_alive, left)):
        assert time.monotonic() < deadline
        time.sleep(0.01)
