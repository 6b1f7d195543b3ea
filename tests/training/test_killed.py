"""Every tokenizer's training, killed for real, goes on to what an unbroken run ends with."""

import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from musiclm.cli import main
from tests.tiny import folder_of_melodies, folder_of_tones

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*does not have many workers.*")]
# What each begins with, if anything, and epochs enough for the kill to come in the middle.
TRAININGS = {
    "soundstream": ("", 8),
    "w2v_bert": ("", 12),
    "kmeans": ("w2v_bert", 30),
    "mulan": ("", 12),
    "mulan_rvq": ("mulan", 30),
    "melody": ("", 12),
    "melody_rvq": ("melody", 30),
}


def command(name: str, runs: Path, folder: str, *, epochs: int) -> list[str]:
    files = [f"--config={ROOT / 'configs' / size / f'{name}.yaml'}" for size in ("", "tiny")]
    needs = TRAININGS[name][0]
    begins = [f"--model.init_args.{needs}={runs / needs / 'part'}"] if needs else []
    length = [f"--trainer.max_epochs={epochs}", "--trainer.max_steps=-1", "--threads=1"]
    audio = "melodies" if name.startswith("melody") else "audio"
    places = [f"--data.init_args.{audio}={runs / audio}", f"--trainer.default_root_dir={runs / folder}"]
    return ["fit", *files, *begins, *length, *places]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings, and the parts that other trainings begin with."""
    runs = tmp_path_factory.mktemp("runs")
    folder_of_tones(runs / "audio", 8, seconds=3.0)
    folder_of_melodies(runs / "melodies", 8)
    for name in ("w2v_bert", "mulan", "melody"):
        main(command(name, runs, name, epochs=1))
    return runs


@pytest.mark.parametrize("name", TRAININGS)
def test_a_killed_training_ends_with_the_weights_of_an_unbroken_one(name: str, runs: Path) -> None:
    epochs, checkpoint = TRAININGS[name][1], runs / f"{name} killed" / "last.ckpt"
    words = command(name, runs, checkpoint.parent.name, epochs=epochs)
    run = subprocess.Popen([sys.executable, "-m", "musiclm.cli", *words], cwd=ROOT, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    run.kill()
    assert run.wait() == -9
    assert not (checkpoint.parent / "part").exists()
    assert 0 <= torch.load(checkpoint, weights_only=True)["epoch"] < epochs - 1

    main(words)
    main(command(name, runs, f"{name} unbroken", epochs=epochs))
    parts = [runs / f"{name} {way}" / "part" / f"{name}.safetensors" for way in ("killed", "unbroken")]
    killed, unbroken = map(load_file, parts)
    assert killed.keys() == unbroken.keys()
    for key, value in unbroken.items():
        torch.testing.assert_close(killed[key], value, msg=key)
