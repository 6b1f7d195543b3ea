"""Fixtures for all tests: seeds, one thread, quiet libraries, interpreters that start at once."""

import gc
import os

# faiss, torch and scikit-learn each bring threads of their own, and get in each other's way on two cores
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Lightning still calls what jsonargparse has renamed; the project itself does not
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")

import multiprocessing
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from encodec import EncodecModel
    from xdist.workermanage import WorkerController

ROOT = Path(__file__).parent.parent
WARM = pytest.StashKey[Path]()  # the folder of the server that all processes share
# What needs torch is imported where it is used: the process that hands the tests out runs none of them.


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Where several processes share the work, long files come first: short ones fill up the end."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: item.getparent(pytest.Module).get_closest_marker("slow") is None)


def pytest_testnodedown(node: "WorkerController", error: object) -> None:
    """How a worker ended that should not have: by a signal where it is negative, -9 mostly for memory."""
    if error:
        code = node.gateway._io.popen.wait(timeout=10)
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
        print(f"worker {node.gateway.id} ended with {code} ({memory:.1f} GiB): {error}", file=sys.stderr)


def pytest_collection_finish() -> None:
    """What was imported stays: the collector need not look through its million objects again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def published_encodec(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "EncodecModel"]:
    """A file of EnCodec weights in the published format, and the package's own model of them."""
    from tests.tiny import publish_encodec

    return publish_encodec(tmp_path_factory.mktemp("published"))


@contextmanager
def warm_server() -> Iterator[Path]:
    """A folder with `python` and `musiclm`, which are there at once as soon as `said` there says "ready"."""
    code = str(Path(__file__).parent / "warm_python.py")
    with tempfile.TemporaryDirectory(prefix="warm") as name:  # a socket's path is short
        folder, path = Path(name), str(Path(name) / "socket")
        for command, words in (("python", ""), ("musiclm", "-m musiclm.cli")):
            line = f'exec "{sys.executable}" -I -S "{code}" "{path}" {words} "$@"'
            (folder / command).write_text(f"#!/bin/sh\n{line}\n")
            (folder / command).chmod(0o755)
        with (folder / "said").open("wb") as said, subprocess.Popen(
            [sys.executable, code, "--serve", path, str(folder / "python")],
            cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, start_new_session=True,
            stdin=subprocess.PIPE, stdout=said,
        ):  # fmt: skip
            yield folder
            # Leaving closes its standard input and waits for it alone: not for the end of its output, which
            # processes that it has forked may hold as long as this one lives (multiprocessing's tracker).


def pytest_configure(config: pytest.Config) -> None:
    """Processes that share the tests share one server: it takes 7 s to import what commands need."""
    if getattr(config.option, "numprocesses", None) and not hasattr(config, "workerinput"):
        server = warm_server()
        config.stash[WARM] = server.__enter__()
        config.add_cleanup(lambda: server.__exit__(None, None, None))


def pytest_configure_node(node: "WorkerController") -> None:
    node.workerinput["warm"] = str(node.config.stash[WARM])


@pytest.fixture(scope="session")
def warm(request: pytest.FixtureRequest) -> Iterator[Path]:
    """A folder with `python` and `musiclm`, which are there at once: see warm_python.py."""
    shared = getattr(request.config, "workerinput", {}).get("warm")
    with nullcontext(Path(shared)) if shared else warm_server() as folder:
        deadline = time.monotonic() + 120
        while (folder / "said").read_bytes() != b"ready\n":
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield folder


@pytest.fixture
def warm_workers(warm: Path) -> Iterator[None]:
    """The processes that multiprocessing spawns are there at once."""
    multiprocessing.set_executable(str(warm / "python"))
    yield
    multiprocessing.set_executable(sys.executable)


@pytest.fixture(autouse=True)
def _seed() -> None:
    import torch

    torch.default_generator.manual_seed(0)  # torch.manual_seed notes a traceback, which takes 1 ms
    torch.set_num_threads(1)
