"""One command: music becomes adapters, what has changed is said, and what is generated is guarded."""

import contextlib
import io
import json
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from musiclm import Audio
from musiclm.bundle import Bundle
from musiclm.bundle.adapters import TUNED_ON
from musiclm.cli import main
from musiclm.data.store import TokenStore
from musiclm.diffusion.transformer import DiffusionTransformer
from musiclm.tuning.music import Crops, hold_out
from tests.tiny import make_token_store, melody
from tests.tiny_model import PROMPT, make_bundle
from tests.training.runs import refused

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory.*exists and is not empty.*"),
]
SONGS = 26  # so many that an audit can be made
CONFIG = """
model:
  init_args: {warmup_steps: 1}
data:
  init_args: {batch_size: 2, crops_per_epoch: 4}
trainer: {max_steps: STEPS, precision: 32-true, log_every_n_steps: 1}
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One that makes sound by tokens or by diffusion."""
    return make_bundle(tmp_path_factory.mktemp("tiny"), diffusion=True, tokens=True)


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tunes without captions, but for one; and a file that is no music."""
    folder = tmp_path_factory.mktemp("music")
    for number in range(SONGS):
        melody(8.0, seed=number).save(folder / f"tune{number:02d}.wav")
    (folder / "tune00.txt").write_text("a tune of mine\n")
    (folder / "broken.mp3").write_bytes(b"no music at all" * 100)
    return folder


def words(folder: Path, bundle: Path, music: Path, out: Path, *more: str, steps: int = 4) -> list[str]:
    """Arguments of a run at the size of the tests."""
    (folder / "config.yaml").write_text(CONFIG.replace("STEPS", str(steps)))
    (folder / "words.txt").write_text("a calm tune\na wild tune\nanother tune\n")
    small = [f"--config={folder / 'config.yaml'}", f"--vocabulary={folder / 'words.txt'}"]
    return ["tune", str(music), f"--out={out}", f"--bundle={bundle}", "--workers=1", *small, *more]


@pytest.fixture(scope="module")
def tuned(bundle: Path, music: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of a run, and what it has printed."""
    folder = tmp_path_factory.mktemp("tuned")
    said = io.StringIO()
    with contextlib.redirect_stdout(said):
        main(words(folder, bundle, music, folder / "mine", "--stages=semantic,coarse,denoiser", "--clips=1"))
    return folder / "mine", said.getvalue()


def test_one_command_makes_adapters_of_the_stages_that_are_asked_for(
    tuned: tuple[Path, str], bundle: Path
) -> None:
    adapters = Bundle(tuned[0])
    assert list(adapters.components) == ["semantic_adapter", "coarse_adapter", "denoiser_adapter"]
    for name, base in (("semantic", "semantic_stage"), ("coarse", "coarse_stage"), ("denoiser", "denoiser")):
        learned = adapters.component(f"{name}_adapter").trained_on
        assert learned == {base: Bundle(bundle).fingerprint(base)}


def test_one_bad_file_is_left_out_and_every_recording_gets_captions(tuned: tuple[Path, str]) -> None:
    tokens = tuned[0] / TUNED_ON
    store = TokenStore(tokens)
    assert len(store) == SONGS
    assert "broken.mp3" in (tokens / "left_out.tsv").read_text()
    captions = {row.id: row.captions for row in store}
    assert captions.pop("tune00") == ["a tune of mine"]
    assert all(captions.values())
    assert 0 < store.splits().count("valid") < SONGS / 2


def test_it_says_what_has_changed_and_keeps_it(tuned: tuple[Path, str]) -> None:
    folder, said = tuned
    report = json.loads((folder / "report" / "tune.json").read_text())
    for name in ("semantic", "coarse"):
        figures = report["perplexity"][name]
        assert 1 < figures["after"] <= figures["before"] * 1.01  # kept in float16
        assert f"held-out perplexity, {name}" in said
    figures = report["loss"]["denoiser"]
    assert 0 < figures["after"] <= figures["before"] * 1.01
    assert "held-out loss, denoiser" in said
    assert {"before", "after", "your music"} <= set(report["sound"]["loudness"])
    assert all((folder / "clips" / f"{what}-1.wav").is_file() for what in ("before", "after", "yours"))
    assert "training examples, the model continued" in said
    assert report["memorization"][0] in said
    assert (folder / "report" / "report.html").is_file()
    assert said.splitlines()[-1].startswith("musiclm generate ")


def test_what_it_makes_is_guarded_unless_that_is_declined(
    tuned: tuple[Path, str], bundle: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    asked = ["generate", PROMPT, "--bundle", str(bundle), "--adapter", str(tuned[0])]
    main([*asked, "--seconds", "5", "--guard_action", "label"])
    assert "guard: " in capsys.readouterr().err
    assert "ask for more --seconds, or for no guard" in refused(capsys, [*asked, "--seconds", "1"])
    main([*asked, "--seconds", "1", "--guard", "no", "--out", "free.wav"])
    assert "guard" not in capsys.readouterr().err
    assert Audio.load("free.wav").seconds == 1


def test_a_killed_command_goes_on(bundle: Path, music: Path, warm: Path, tmp_path: Path) -> None:
    command = words(tmp_path, bundle, music, tmp_path / "mine", "--clips=0", steps=60)
    checkpoint = tmp_path / "mine" / "runs" / "semantic" / "last.ckpt"
    run = subprocess.Popen([warm / "musiclm", *command], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 300
    while not checkpoint.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGKILL)
    run.communicate(timeout=60)
    assert checkpoint.is_file()
    assert not (tmp_path / "mine" / "model.yaml").exists()
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        main(command)
    assert f"resuming from {checkpoint}" in said.getvalue()
    # Of a bundle with a denoiser, it learns as well unless the stages are named.
    assert list(Bundle(tmp_path / "mine").components) == ["semantic_adapter", "denoiser_adapter"]


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--stages=bass"], "expected --stages of semantic, coarse, fine, denoiser"),
        (["--minutes=0"], "expected --minutes above 0"),
        (["--clips=-1"], "expected clips of 0 or more"),
        (["--bundle=nowhere"], "expected a bundle"),
        (["--out=MUSIC/mine"], "expected --out outside of the music"),
        (["--out=TAKEN"], "holds letter.txt"),
        (["--rank=0"], "expected a rank of 1 or more"),
    ],
)
def test_a_mistake_ends_with_one_line_before_any_work(
    more: list[str], said: str, bundle: Path, music: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("dear reader\n")
    known = {"MUSIC": str(music), "TAKEN": str(tmp_path / "taken")}
    for name, path in known.items():
        more = [word.replace(name, path) for word in more]
    assert said in refused(capsys, [*words(tmp_path, bundle, music, tmp_path / "mine"), *more])
    assert not (tmp_path / "mine").exists()
    assert not (music / "mine").exists()


def test_a_folder_without_music_leaves_nothing_behind(
    bundle: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "empty").mkdir()
    line = refused(capsys, words(tmp_path, bundle, tmp_path / "empty", tmp_path / "mine"))
    assert "expected audio files" in line
    assert not (tmp_path / "mine").exists()


def test_where_names_hold_nothing_out_one_recording_is(tmp_path: Path) -> None:
    make_token_store(tmp_path / "many", (12.0,) * 6, held_out=0)
    assert hold_out(tmp_path / "many", 5.0) == 1
    chosen = TokenStore(tmp_path / "many").splits()
    assert chosen.count("valid") == 1
    assert hold_out(tmp_path / "many", 5.0) == 1
    assert TokenStore(tmp_path / "many").splits() == chosen
    make_token_store(tmp_path / "two", (12.0,) * 2, held_out=0)
    assert hold_out(tmp_path / "two", 5.0) == 0


def test_crops_are_as_long_as_most_recordings_allow(tmp_path: Path) -> None:
    make_token_store(tmp_path, (30.0,) * 3, held_out=1)
    row = TokenStore(tmp_path)[0]
    assert Crops.of([row] * 5, 15.0) == Crops(15.0, 2.0, 128, 8)
    assert Crops.of([replace(row, seconds=16.0)] * 5, 15.0) == Crops(15.0, 0.0, 128, 8)
    assert Crops.of([replace(row, seconds=7.9)] * 5, 15.0) == Crops(7.0, 0.0, 128, 8)
    held_out = [replace(row, split="valid", seconds=120.0)] * 3
    assert Crops.of([row, *held_out], 15.0) == Crops(15.0, 2.0, 128, 48)
    assert Crops.of([replace(row, seconds=150.0)] * 5, 15.0).training == 200


def test_a_denoiser_learns_from_codes_that_no_other_stage_reads(
    bundle: Path, music: Path, tmp_path: Path
) -> None:
    main(words(tmp_path, bundle, music, tmp_path / "mine", "--stages=denoiser", "--clips=0", steps=1))
    store = TokenStore(tmp_path / "mine" / TUNED_ON)
    assert "acoustic" in [stream.name for stream in store.description.streams]
    assert list(Bundle(tmp_path / "mine").components) == ["denoiser_adapter"]


def test_a_denoiser_that_no_adapter_can_change_is_left_out_or_refused_before_any_work(
    bundle: Path,
    music: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As MeLoDy's own network is."""
    monkeypatch.setattr(DiffusionTransformer, "matrices_to_adapt", lambda _: [])
    own = words(tmp_path, bundle, music, tmp_path / "mine", "--clips=0", steps=1)
    said = refused(capsys, [*own, "--stages=denoiser"])
    assert "expected a network whose blocks an adapter can change" in said
    assert not (tmp_path / "mine").exists()
    main(own)
    assert list(Bundle(tmp_path / "mine").components) == ["semantic_adapter"]
