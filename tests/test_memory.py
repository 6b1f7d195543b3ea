"""Freed memory is kept: what a tensor leaves, the next one takes without asking the system."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
import torch
from musiclm.memory import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

if len(sys.argv) > 1 and not keep_freed_memory():
    print("not glibc")
    sys.exit()
mapped = []
for turn in range(6):  # blocks of memory grow together in the first ones
    before = faults()
    torch.ones(2**24).add(1)  # 64 MiB, twice: 32,768 pages of 4 KiB
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
    assert pages_mapped("kept") < 1000 < pages_mapped()
