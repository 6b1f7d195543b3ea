"""Work in several processes: results come, and a process that ends says why."""

import os
import signal
from types import SimpleNamespace

import pytest

from musiclm.machine.executors.local import cause_of_death, in_processes


def square(number: int) -> int:
    if number < 0:
        os.kill(os.getpid(), -number)
    return number * number


def test_results_come_from_several_processes_and_from_this_one() -> None:
    assert sorted(in_processes(square, [1, 2, 3], 2)) == [1, 4, 9]
    assert list(in_processes(square, [1, 2, 3], 1)) == [1, 4, 9]


def test_a_process_that_is_killed_says_so() -> None:
    with pytest.raises(OSError, match="want of memory"):
        list(in_processes(square, [-signal.SIGKILL, -signal.SIGKILL], 2))


@pytest.mark.parametrize(
    ("code", "said"), [(-signal.SIGSEGV, "has crashed (SIGSEGV)"), (1, "exit code 1 before it could begin")]
)
def test_a_process_that_ends_otherwise_says_how(code: int, said: str) -> None:
    ended = [SimpleNamespace(exitcode=each, join=lambda timeout: None) for each in (-signal.SIGTERM, code)]
    assert said in cause_of_death(ended)  # type: ignore[arg-type]
