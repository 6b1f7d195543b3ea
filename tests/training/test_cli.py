"""`musiclm fit` and `validate`: stopped runs go on, mistakes are one line, nothing broken is kept."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from musiclm.bundle import load_component
from musiclm.cli import main
from musiclm.data.token_crops import TokenCropDataset
from musiclm.training.checkpoint import LastCheckpoint
from musiclm.training.cli import main as fit
from tests.tiny import folder_of_tones, make_token_store

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*does not have many workers.*")]


def configs(name: str) -> list[str]:
    return [f"--config={ROOT / 'configs' / folder / f'{name}.yaml'}" for folder in ("", "tiny")]


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("store") / "tokens"
    make_token_store(folder)
    return folder


def stage(tokens: Path, root: Path, *more: str, name: str = "semantic") -> list[str]:
    data = f"--data.init_args.tokens={tokens}"
    return [*configs(name), data, f"--trainer.default_root_dir={root}", *more]


def test_a_killed_run_says_so_and_goes_on_to_the_very_weights_of_an_unbroken_one(
    tokens: Path, warm: Path, tmp_path: Path
) -> None:
    steps = 200  # so many that the kill comes in the middle: the first checkpoint is written after 15
    long = [
        f"--trainer.max_steps={steps}",
        "--data.init_args.crops_per_epoch=30",
        "--threads=1",
    ]
    words = stage(tokens, tmp_path / "killed", *long)
    run = subprocess.Popen([warm / "musiclm", "fit", *words], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    checkpoint = tmp_path / "killed" / "last.ckpt"
    deadline = time.monotonic() + 120
    while not checkpoint.exists() and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    run.send_signal(signal.SIGTERM)
    run.communicate(timeout=60)
    assert run.returncode == 143
    assert checkpoint.is_file()
    assert not (tmp_path / "killed" / "part").exists()

    done = torch.load(checkpoint, weights_only=True)["global_step"]
    assert 0 < done < steps
    for folder in ("killed", "unbroken"):
        main(["fit", *stage(tokens, tmp_path / folder, *long)])
    resumed, unbroken = (load_component(tmp_path / folder / "part") for folder in ("killed", "unbroken"))
    for name, value in unbroken.state_dict().items():
        torch.testing.assert_close(resumed.state_dict()[name], value, msg=name)


def test_a_run_that_ended_inside_an_epoch_goes_on_with_the_crops_not_yet_heard(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    heard: list[int] = []
    whole = TokenCropDataset.__getitem__
    monkeypatch.setattr(
        TokenCropDataset,
        "__getitem__",
        lambda self, index: (heard.append(index) if self.seed == 0 else None, whole(self, index))[1],
    )
    for steps in (7, 12):  # of 5 to an epoch
        sizes = ["--data.init_args.batch_size=2", "--data.init_args.crops_per_epoch=10"]
        words = [f"--trainer.max_steps={steps}", "--data.init_args.seed=0"]
        main(["fit", *stage(tokens, tmp_path / "run", *sizes, *words)])
    assert heard[: 2 * 12] == list(range(2 * 12))


def test_a_run_killed_inside_an_epoch_goes_on_to_the_very_weights_of_an_unbroken_one(
    tokens: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(LastCheckpoint, "seconds_between", 0.0)
    words = ["--data.init_args.batch_size=2", "--data.init_args.crops_per_epoch=10"]
    words += ["--trainer.max_steps=8", "--data.init_args.seed=0"]
    main(["fit", *stage(tokens, tmp_path / "unbroken", *words)])
    whole = TokenCropDataset.__getitem__

    def stopped(self: TokenCropDataset, index: int) -> dict[str, torch.Tensor]:
        if self.seed == 0 and index == 13:  # in the seventh batch, the second of its epoch
            raise KeyboardInterrupt
        return whole(self, index)

    monkeypatch.setattr(TokenCropDataset, "__getitem__", stopped)
    with pytest.raises(KeyboardInterrupt):
        fit(["fit", *stage(tokens, tmp_path / "killed", *words)])
    assert "the same command goes on from" in capsys.readouterr().err
    monkeypatch.setattr(TokenCropDataset, "__getitem__", whole)
    assert torch.load(tmp_path / "killed" / "last.ckpt", weights_only=True)["global_step"] in (5, 6)
    main(["fit", *stage(tokens, tmp_path / "killed", *words)])
    killed, unbroken = (load_component(tmp_path / folder / "part") for folder in ("killed", "unbroken"))
    for name, value in unbroken.state_dict().items():
        torch.testing.assert_close(killed.state_dict()[name], value, msg=name)


def test_ctrl_c_ends_a_run_by_the_signal_so_that_a_shells_loop_ends_too(
    tokens: Path, warm: Path, tmp_path: Path
) -> None:
    long = ["--trainer.max_steps=100000", "--data.init_args.crops_per_epoch=60"]
    words = stage(tokens, tmp_path / "run", *long)
    run = subprocess.Popen([warm / "musiclm", "fit", *words], cwd=ROOT, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while (
        not (tmp_path / "run" / "last.ckpt").exists() and run.poll() is None and time.monotonic() < deadline
    ):
        time.sleep(0.05)
    run.send_signal(signal.SIGINT)
    try:
        _, said = run.communicate(timeout=60)
    finally:
        run.kill()
    assert run.returncode == -signal.SIGINT
    assert "the same command goes on from" in said
    assert said.rstrip().endswith("musiclm fit: stopped")


@pytest.mark.parametrize(
    ("lengths", "held_out", "said"),
    [((8.0, 0.5), 1, "is as long as a crop of 2 s, the longest is 0.5 s"), ((8.0, 8.0), 0, "is held out")],
)
def test_a_stage_trains_without_validation_where_nothing_held_out_can_be_measured(
    lengths: tuple[float, ...], held_out: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_token_store(tmp_path / "tokens", lengths=lengths, held_out=held_out)
    words = stage(tmp_path / "tokens", tmp_path / "run")
    main(["fit", *words])
    assert (tmp_path / "run" / "part" / "model.yaml").is_file()
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].endswith(f"{said}: no validation")
    assert sum("no validation" in line for line in lines) == 1
    assert any(
        line.startswith("step 4,") and "train/loss=" in line for line in lines
    )  # how it goes, all the same
    assert not any("val/" in line for line in lines)
    assert said in one_line(capsys, ["validate", *words])


def test_a_run_is_said_in_short_names_as_in_long_ones(
    tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", f"--out={tmp_path / 'short'}", "--tokens", str(tokens), *configs("semantic")])
    main(["fit", *stage(tokens, tmp_path / "long")])
    config, other = ((tmp_path / run / "config.yaml").read_text() for run in ("short", "long"))
    assert config.replace(str(tmp_path / "short"), str(tmp_path / "long")) == other
    long, third = tmp_path / "long", tmp_path / "third"
    line = one_line(capsys, ["fit", *stage(tokens, long), "--out", str(third)])
    assert line.endswith(f"got --out {third} and --trainer.default_root_dir {long}")
    assert not third.exists()


@pytest.mark.parametrize("command", ["fit", "validate"])
def test_help_has_the_short_names(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([command, "--help"])
    assert not stop.value.code
    said = " ".join(capsys.readouterr().out.split())
    assert "--tokens DIR, --audio DIR, --melodies DIR:" in said
    assert "--out DIR:" in said


def test_the_codec_trains_on_two_devices_started_by_the_users_command(tmp_path: Path) -> None:
    folder_of_tones(tmp_path / "tones", 3)
    words = [*configs("soundstream"), f"--data.init_args.audio={tmp_path / 'tones'}"]
    words += [
        "--trainer.devices=2",
        "--trainer.strategy=ddp",
        f"--trainer.default_root_dir={tmp_path / 'run'}",
    ]
    command = Path(sys.executable).parent / "musiclm"
    run = subprocess.run([command, "fit", *words], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    assert (tmp_path / "run" / "part" / "model.yaml").is_file()
    state = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    weights, steps = state["state_dict"], state["global_step"]
    one_device, ring = 2 * 25, len(weights["part.quantizer.recent"])  # frames of a batch; frames kept
    assert one_device < ring
    assert int(weights["part.quantizer.num_seen"]) == steps * min(2 * one_device, ring)


def test_a_codec_that_has_no_codebooks_yet_is_not_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_of_tones(tmp_path / "tones", 3)
    words = [*configs("soundstream"), f"--data.init_args.audio={tmp_path / 'tones'}"]
    words += ["--model.init_args.quantize_start=1000", f"--trainer.default_root_dir={tmp_path / 'run'}"]
    message = one_line(capsys, ["fit", *words])
    assert "expected codebooks, the 4 steps ended before there were any: train longer" in message
    assert not (tmp_path / "run" / "part").exists()


def test_validate_measures_the_last_checkpoint_of_a_run(
    tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = stage(tokens, tmp_path / "run")
    main(["fit", *words])
    trained = capsys.readouterr().err.splitlines()
    main(["validate", *words])
    measured = capsys.readouterr()
    wanted = next(line for line in reversed(trained) if "val/loss=" in line).split("val/loss=")[1].split()[0]
    assert f"val/loss={wanted}" in measured.err


def one_line(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    with pytest.raises(SystemExit) as stopped:
        main(words)
    assert stopped.value.code == 2
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("musiclm ")]
    assert len(lines) == 1
    return lines[0]


def test_a_run_of_another_part_is_not_gone_on_with(
    tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", *stage(tokens, tmp_path / "run")])
    before = (tmp_path / "run" / "last.ckpt").read_bytes()
    line = one_line(capsys, ["fit", *stage(tokens, tmp_path / "run", name="coarse")])
    assert "to be of Coarse, it is of Semantic" in line
    assert "name another folder" in line
    assert (tmp_path / "run" / "last.ckpt").read_bytes() == before


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--trainer.max_stepz=3"], "max_stepz"),
        (["--trainer.max_steps=many"], "many"),
        (["--data.init_args.seconds=100"], "the longest is 12.0 s"),
        (["--data.init_args.seconds=-1"], "more than 0 seconds"),
        (["--data.init_args.seconds=.nan"], "more than 0 seconds"),
        (["--data.init_args.batch_size=0"], "batch_size of 1"),
        (["--data.init_args.crops_per_epoch=0"], "crops_per_epoch"),
        (["--model.init_args.part.init_args.transformer.heads=3"], "multiple of its heads"),
        (["--model.init_args.part.init_args.pattern=zigzag"], "zigzag"),
        (["--model.init_args.part=musiclm.nothing.Here"], "nothing"),
        (["--storage=int3"], "int3"),
        (["--threads=-1"], "threads"),
        (["--ckpt_path=nowhere.ckpt"], "nowhere.ckpt"),
        (["--data.init_args.tokens=nowhere"], "token store"),
        (["--config=nowhere.yaml"], "nowhere.yaml"),
        (["--trainer.max_time=banana"], "banana"),
        (["--trainer.accelerator=mps"], "MPSAccelerator"),  # this machine has none: the tests need no Mac
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_kept(
    more: list[str], said: str, tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in one_line(capsys, ["fit", *stage(tokens, tmp_path / "run", *more)])
    assert not (tmp_path / "run" / "part").exists()
    assert not (tmp_path / "run" / "last.ckpt").exists()


def test_recordings_that_are_none_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "words").mkdir()
    (tmp_path / "words" / "song.wav").write_text("no sound")
    for folder, said in (("nowhere", "found nothing"), ("empty", "found none"), ("words", "cannot be read")):
        words = [*configs("soundstream"), f"--data.init_args.audio={tmp_path / folder}"]
        assert said in one_line(capsys, ["fit", *words, f"--trainer.default_root_dir={tmp_path / 'run'}"])


def test_recordings_that_cannot_be_used_are_named_in_the_runs_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    audio, run = folder_of_tones(tmp_path / "audio", 2, seconds=1.0), tmp_path / "run"
    (audio / "words.wav").write_text("no sound")
    words = [*configs("soundstream"), f"--data.init_args.audio={audio}", f"--trainer.default_root_dir={run}"]
    line = one_line(capsys, ["fit", *words, "--data.init_args.strict=true"])
    assert line.endswith(f"1 are left out: see {run}/left_out.tsv")
    assert (run / "left_out.tsv").read_text().splitlines()[1].startswith(f"{audio}/words.wav\t")
    main(["fit", *words, "--trainer.max_epochs=1"])
    assert f"2 recordings, 1 left out: see {run}/left_out.tsv" in capsys.readouterr().err
    assert (run / "part").is_dir()


def test_validating_what_was_never_fitted_is_one_line(
    tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert "fit it first" in one_line(capsys, ["validate", *stage(tokens, tmp_path / "run")])


def test_weights_that_are_no_numbers_are_not_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    audio = folder_of_tones(tmp_path / "audio", 2, seconds=1.0)
    words = [
        *configs("soundstream"),
        f"--data.init_args.audio={audio}",
        "--model.init_args.gradient_clip=.nan",
    ]
    line = one_line(capsys, ["fit", *words, f"--trainer.default_root_dir={tmp_path / 'run'}"])
    assert "diverged" in line
    assert not (tmp_path / "run" / "part").exists()
