"""Every tokenizer's training, killed, goes on to what an unbroken run ends with."""

import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from musiclm.cli import main
from musiclm.training.cli import LastCheckpoint
from tests.tiny import folder_of_melodies, folder_of_tones

ROOT = Path(__file__).parents[2]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
]
# What each begins with, if anything, and for how many epochs it trains.
TRAININGS = {
    "soundstream": ("", 4),
    "w2v_bert": ("", 3),
    "kmeans": ("w2v_bert", 16),
    "mulan": ("", 3),
    "mulan_rvq": ("mulan", 3),
    "melody": ("", 3),
    "melody_rvq": ("melody", 3),
}
# Of either kind, with gradients and without, one is killed by the system, and has epochs enough for that to
# come in the middle.
KILLED = ("soundstream", "kmeans")


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
    folder_of_tones(runs / "audio", 8, held_out=1, seconds=3.0)
    folder_of_melodies(runs / "melodies", 8)
    for name in ("w2v_bert", "mulan", "melody"):
        main(command(name, runs, name, epochs=1))
    return runs


@pytest.mark.parametrize("name", TRAININGS)
def test_what_a_kill_leaves_goes_on_to_the_weights_of_an_unbroken_training(
    name: str, runs: Path, warm: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A kill leaves what lay in the folder at that moment: here, a copy of it after the first epoch."""
    epochs, left = TRAININGS[name][1], runs / f"{name} left"
    at_the_end = LastCheckpoint.on_train_epoch_end

    def copied(self: LastCheckpoint, *arguments: Any) -> None:
        at_the_end(self, *arguments)
        if not left.exists():
            shutil.copytree(self.path.parent, left)

    with monkeypatch.context() as patch:
        patch.setattr(LastCheckpoint, "on_train_epoch_end", copied)
        main(command(name, runs, f"{name} unbroken", epochs=epochs))
    assert_goes_on(name, runs, "left")

    if name in KILLED:
        words, checkpoint = (
            command(name, runs, f"{name} killed", epochs=epochs),
            runs / f"{name} killed/last.ckpt",
        )
        run = subprocess.Popen([warm / "musiclm", *words], cwd=ROOT, stderr=subprocess.PIPE)
        deadline = time.monotonic() + 120
        while not checkpoint.exists() and run.poll() is None and time.monotonic() < deadline:
            time.sleep(0.01)
        run.kill()
        run.communicate()  # ends when all of it is gone
        assert run.returncode == -9
        assert_goes_on(name, runs, "killed")


def assert_goes_on(name: str, runs: Path, way: str) -> None:
    """The same command, in a folder that a run has left, ends with the weights of the unbroken one."""
    epochs = TRAININGS[name][1]
    assert not (runs / f"{name} {way}" / "part").exists()
    state = torch.load(runs / f"{name} {way}" / "last.ckpt", weights_only=True)
    assert 0 <= state["epoch"] < epochs - 1
    main(command(name, runs, f"{name} {way}", epochs=epochs))
    parts = [next((runs / f"{name} {each}" / "part").glob("*.safetensors")) for each in (way, "unbroken")]
    resumed, unbroken = map(load_file, parts)
    assert resumed.keys() == unbroken.keys()
    for key, value in unbroken.items():
        torch.testing.assert_close(resumed[key], value, msg=key)
