"""The compiled step's threads: whatever else a process does, a step ends, and says what one thread says."""

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

import musiclm.stages.native as native
from musiclm.stages.native import NativeMatrix
from musiclm.stages.precision import prepare_to_decode
from tests.stages.test_native import make_stage, steps

pytestmark = [
    pytest.mark.skipif(not native.available(), reason="needs a C compiler at installation"),
    # Python 3.12 warns of every fork of a process with threads: here that is what is tried.
    pytest.mark.filterwarnings("ignore:.*use of fork.*:DeprecationWarning"),
]
linux = pytest.mark.skipif(sys.platform != "linux", reason="counts the threads of Linux")
TASKS = Path("/proc/self/task")


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def decode() -> Callable[[], Tensor]:
    """Ten steps of two rows in int8, [10, 2, 64], by the compiled step alone.

    Torch's own threads do not outlive a fork: an operation that needs them hangs.
    """
    transformer, x = prepare_to_decode(make_stage(64, 4, 96), "int8").transformer, steps(10, 2, 64)

    @torch.inference_mode()
    def decode() -> Tensor:
        assert transformer.fused_step is not None
        cache = transformer.new_cache(2, len(x))
        hidden = []
        for step in x:
            hidden.append(transformer.fused_step(step, cache))
            cache.length += 1
        return torch.stack(hidden)

    return decode


@pytest.fixture(scope="module")
def expected(decode: Callable[[], Tensor]) -> Tensor:
    """What one thread says."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return decode()
    finally:
        torch.set_num_threads(before)


def within(seconds: float, condition: Callable[[], bool]) -> bool:
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.001)
    return condition()


def test_the_number_of_threads_may_change_at_any_step(decode: Callable[[], Tensor], expected: Tensor) -> None:
    for count in (2, 7, 1, 3, 40, 2, 300):  # of more than the step's most, that is taken
        torch.set_num_threads(count)
        assert torch.equal(decode(), expected)


def test_a_piece_that_is_large_is_divided_and_comes_out_the_same() -> None:
    generator = torch.Generator().manual_seed(0)
    matrix = NativeMatrix(torch.randn(700, 512, generator=generator), torch.float32)
    x = torch.randn(40, 512, generator=generator)
    rows = torch.cat([matrix(row) for row in x.split(1)])
    for dtype in (torch.float32, torch.int8):
        matrix = NativeMatrix(torch.randn(700, 512, generator=generator), dtype, alike=True)
        outputs = []
        for count in (1, 2, 5):
            torch.set_num_threads(count)
            outputs.append(matrix(x))
        assert torch.equal(outputs[0], outputs[1])
        assert torch.equal(outputs[0], outputs[2])
    assert rows.isfinite().all()


def test_several_callers_at_once_do_not_disturb_each_other(
    decode: Callable[[], Tensor], expected: Tensor
) -> None:
    def call(_: int) -> bool:
        torch.set_num_threads(3)
        return all(torch.equal(decode(), expected) for _ in range(5))

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(call, range(8)))


def tasks() -> set[str]:
    """The threads of this process."""
    return {task.name for task in TASKS.iterdir()}


@linux
def test_helpers_end_with_the_thread_that_called_them(decode: Callable[[], Tensor]) -> None:
    def call() -> None:
        before = tasks()
        torch.set_num_threads(4)
        decode()
        helpers.append(tasks() - before)

    helpers: list[set[str]] = []
    for _ in range(3):
        caller = threading.Thread(target=call)
        caller.start()
        caller.join()
    assert [len(each) for each in helpers] == [3, 3, 3]
    assert within(5, lambda: not tasks() & set.union(*helpers))


def test_helpers_sleep_when_there_is_nothing_to_do(decode: Callable[[], Tensor]) -> None:
    decode()
    time.sleep(0.05)  # they stay awake for some milliseconds
    used = time.process_time()
    time.sleep(0.2)
    assert time.process_time() - used < 0.05


def _child(connection: Connection, decode: Callable[[], Tensor]) -> None:
    torch.set_num_threads(3)
    connection.send(decode().tolist())
    os._exit(0)  # without what pytest would do at the end


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="forks")
def test_a_forked_process_decodes(decode: Callable[[], Tensor], expected: Tensor) -> None:
    assert torch.equal(decode(), expected)  # this process has helpers, which the child has not
    context = multiprocessing.get_context("fork")
    for _ in range(3):
        here, there = context.Pipe()
        child = context.Process(target=_child, args=(there, decode))
        child.start()
        try:
            assert here.poll(20), "the forked process hangs"
            assert here.recv() == expected.tolist()
        finally:
            child.kill()
            child.join()
    assert torch.equal(decode(), expected)


class Products(Dataset[Tensor]):
    """Recordings of a training that need the compiled product."""

    def __init__(self) -> None:
        self.matrix = NativeMatrix(torch.eye(64), torch.float32)

    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Tensor:
        torch.set_num_threads(2)  # torch itself gives workers one
        return self.matrix(torch.full((1, 64), float(index)))


def test_workers_of_a_data_loader_multiply(decode: Callable[[], Tensor]) -> None:
    decode()
    batches = list(DataLoader(Products(), batch_size=2, num_workers=2, timeout=20))
    assert torch.equal(torch.cat(batches)[:, 0, 0], torch.arange(4.0))


def test_ctrl_c_in_the_middle_of_a_step_comes_through_and_the_next_step_is_right(
    decode: Callable[[], Tensor], expected: Tensor
) -> None:
    large = NativeMatrix(torch.ones(512, 512), torch.float32, alike=True)
    x, started = torch.ones(512, 512), threading.Event()

    def multiply() -> None:
        started.set()
        end = time.monotonic() + 20
        while time.monotonic() < end:
            large(x)

    def interrupt() -> None:
        started.wait()
        time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    # A shell's background process ignores Ctrl-C, and so would Python in it.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    other = threading.Thread(target=interrupt)
    other.start()
    try:
        with pytest.raises(KeyboardInterrupt):
            multiply()
    finally:
        other.join()
    assert torch.equal(decode(), expected)


@linux
def test_signals_are_for_the_threads_of_the_program(decode: Callable[[], Tensor]) -> None:
    def call() -> None:
        before = tasks()
        decode()
        for task in tasks() - before:
            lines = (TASKS / task / "status").read_text().splitlines()
            blocked.append(next(int(line.split()[1], 16) for line in lines if line.startswith("SigBlk")))

    blocked: list[int] = []
    caller = threading.Thread(target=call)
    caller.start()
    caller.join()
    assert len(blocked) == 2
    assert all(mask >> (signal.SIGINT - 1) & 1 for mask in blocked)
