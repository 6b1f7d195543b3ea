"""librosa is taken in by one process at a time: two at once leave machine code that crashes all others."""

import ast
import fcntl
import subprocess
import sys
import time
from pathlib import Path

import pytest

from musiclm.metrics.analysis import alone, lock_file

ROOT = Path(__file__).parents[2]
LOCKS = Path("/proc/locks")
LOAD = "from musiclm.metrics.analysis import librosa; print(librosa().__name__, flush=True)"


def imports(path: Path) -> set[str]:
    """The top-level packages that a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.split(".")[0])
    return found


def test_no_other_file_imports_librosa() -> None:
    files = [path for folder in ("musiclm", "benchmarks", "tests") for path in (ROOT / folder).rglob("*.py")]
    assert len(files) > 300
    assert [str(path) for path in files if "librosa" in imports(path)] == []


@pytest.mark.slow
def test_a_process_waits_until_another_has_taken_it_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    assert lock_file().parent == tmp_path
    with lock_file().open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if f":{lock_file().stat().st_ino} " not in LOCKS.read_text():
            pytest.skip("the system does not list its locks")
        with subprocess.Popen([sys.executable, "-c", LOAD], cwd=ROOT, stdout=subprocess.PIPE) as process:
            deadline = time.monotonic() + 60
            while f":{lock_file().stat().st_ino} " not in waiting():
                assert time.monotonic() < deadline
                assert process.poll() is None
                time.sleep(0.05)
            fcntl.flock(held, fcntl.LOCK_UN)
            assert process.communicate(timeout=120)[0] == b"librosa\n"
    assert process.returncode == 0


def waiting() -> str:
    """The system's list of locks that are waited for."""
    return "".join(line for line in LOCKS.read_text().splitlines() if "->" in line)


def test_where_nothing_can_be_locked_nothing_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    with alone():
        assert not lock_file().exists()
