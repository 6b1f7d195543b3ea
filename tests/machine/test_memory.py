"""Freed memory is kept: what a tensor leaves, the next one takes without asking the system."""

import subprocess
import sys
from pathlib import Path

import pytest

from musiclm.cli import command
from musiclm.machine.memory import keep_freed_memory

SCRIPT = """
import resource, sys
import torch
from musiclm.machine.memory import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if len(sys.argv) > 1 and not keep_freed_memory():
    print("not glibc")
    sys.exit()
mapped = []
for turn in range(8):  # freed pieces grow together in the first ones
    before = faults()
    torch.ones(2**24).add(1)  # 64 MiB, twice: glibc by itself hands back what is above 32
    mapped.append(faults() - before)
print(min(mapped))
"""


def pages_mapped(*arguments: str) -> int:
    command = [sys.executable, "-c", SCRIPT, *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if answer == "not glibc":
        pytest.skip("freed memory is kept where malloc is glibc's")
    return int(answer)


def test_a_tensor_takes_the_memory_that_one_before_it_left() -> None:
    assert pages_mapped("kept") < pages_mapped() / 10


def test_who_sets_malloc_by_the_environment_is_obeyed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert not keep_freed_memory()


def test_every_command_keeps_freed_memory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    calls: list[bool] = []
    monkeypatch.setattr(command, "keep_freed_memory", lambda: calls.append(True))
    with pytest.raises(SystemExit):
        command.main(["bundle", "info", str(tmp_path / "none")])
    assert calls == [True]
