"""`make default-model`: its script, killed and started again, ends with a model."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from musiclm import MusicLM

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


def test_the_script_can_be_killed_and_goes_on_to_a_model_that_plays(tmp_path: Path) -> None:
    runs, bundle = tmp_path / "runs", tmp_path / "bundle"
    settings = {
        **os.environ,
        "BIN": str(Path(sys.executable).parent),
        "RUNS": str(runs),
        "HOURS": "0.02",
        "MELODY_HOURS": "0.02",
        "SIZE": "configs/tiny",
        "OUT_BUNDLE": str(bundle),
    }
    words = ["sh", str(ROOT / "scripts" / "default_model.sh")]
    with (tmp_path / "log").open("w") as log:
        streams = {"stdout": log, "stderr": log}
        first = subprocess.Popen(words, cwd=ROOT, env=settings, start_new_session=True, **streams)
        wait_until(lambda: (runs / "mulan.log").exists() or first.poll() is not None)
        assert first.poll() is None, (tmp_path / "log").read_text()
        os.killpg(first.pid, signal.SIGTERM)
        assert first.wait(timeout=60) != 0
        kept = {path: path.stat().st_mtime_ns for path in runs.glob("*/part/*.safetensors")}
        assert not bundle.exists()

        subprocess.run(words, cwd=ROOT, env=settings, check=True, timeout=600, **streams)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept  # what was made is not made again
    audio = MusicLM.from_pretrained(bundle).generate("a calm violin melody", seconds=1.0)
    assert audio.waveform.shape == (1, 24_000)


def wait_until(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)
