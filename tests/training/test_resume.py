"""The same command goes on with a run; another value is honoured or refused, and never only written down."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from musiclm.bundle import save_component
from musiclm.cli import main
from musiclm.files import only_writer
from musiclm.tokenizers.melody import MelodyEmbedding
from musiclm.training.resume import differences, values_that_matter
from tests.tiny import make_token_store
from tests.training.runs import ROOT, refused, words

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*does not have many workers.*")]
MELODY = {"width": 16, "num_layers": 1, "num_heads": 2, "feed_forward": 16}


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a token store and a run of two steps."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("begun")
    make_token_store(folder / "tokens")
    main(["fit", *stage(folder, folder / "run")])
    return folder


@pytest.fixture
def run(begun: Path, tmp_path: Path) -> Path:
    """A copy of the run, with its store beside it."""
    shutil.copytree(begun, tmp_path, dirs_exist_ok=True)
    return tmp_path / "run"


def stage(folder: Path, root: Path, *more: str) -> list[str]:
    ends = ("--trainer.max_steps=2", "--trainer.max_time=00:00:25:00")
    return words("semantic", f"tokens={folder / 'tokens'}", root, *ends, *more)


def contents(folder: Path) -> dict[Path, bytes]:
    return {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def rates(root: Path, name: str = "last.ckpt") -> list[float]:
    """Peak rates in a checkpoint, of the optimizer and of its schedule."""
    content = torch.load(root / name, weights_only=True)
    groups, schedules = content["optimizer_states"][0]["param_groups"], content["lr_schedulers"]
    return [groups[0]["initial_lr"], *schedules[0]["base_lrs"]]


OPTIMIZER = "--model.init_args.optimizer"


@pytest.mark.parametrize(
    "changed",
    [
        {
            f"{OPTIMIZER}.init_args.lr=1.0": "lr 1.0 (was 0.003)",
            f"{OPTIMIZER}.init_args.betas=[0.5,0.6]": "betas [0.5, 0.6] (was [0.9, 0.95])",
            f"{OPTIMIZER}.init_args.weight_decay=0": "weight_decay 0.0 (was 0.1)",
        },
        {
            f"{OPTIMIZER}=torch.optim.SGD": "torch.optim.SGD (was torch.optim.AdamW)",
            "--model.init_args.part.init_args.transformer.width=32": "width 32 (was 16)",
            "--model.init_args.seed=5": "model.init_args.seed 5 (was 0)",
        },
        {
            "--data.init_args.batch_size=1": "batch_size 1 (was 2)",
            "--data.init_args.seed=5": "data.init_args.seed 5 (was 0)",
            "--seed_everything=5": "seed_everything 5 (was 0)",
            "--trainer.precision=bf16-mixed": "; and 1 more:",
        },
        {
            "--trainer.precision=bf16-mixed": "precision bf16-mixed (was 32-true)",
            "--trainer.gradient_clip_val=0.5": "gradient_clip_val 0.5 (was 1.0)",
        },
        {"--trainer.max_steps=1": "expected max_steps of 2 or more"},
        {"--trainer.max_epochs=0": "expected max_epochs of 1 or more"},
        {"--trainer.max_time=00:00:00:00": "expected a max_time of"},
    ],
)
def test_another_value_is_refused_with_the_old_and_the_new_and_nothing_changes(
    changed: dict[str, str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(run)
    line = refused(capsys, ["fit", *stage(run.parent, run, *changed)])
    for said in changed.values():
        assert said in line
    assert "name another folder" in line
    assert contents(run) == before


def test_what_does_not_change_what_is_learned_is_honoured(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = [
        "--trainer.max_steps=3",
        "--data.init_args.validation_crops=1",
        "--threads=1",
        "--storage=float32",
    ]
    more += ["--storage=float32", "--trainer.check_val_every_n_epoch=2", "--trainer.max_time=00:01:00:00"]
    moved = run.parent / "moved"
    (run.parent / "tokens").rename(moved)
    main(["fit", *stage(run.parent, run, f"--data.init_args.tokens={moved}", *more)])
    assert torch.load(run / "last.ckpt", weights_only=True)["global_step"] == 3
    config = yaml.safe_load((run / "config.yaml").read_text())
    assert config["trainer"]["max_steps"] == 3
    assert config["trainer"]["max_time"] == "00:01:00:00"
    assert "nothing was left" not in capsys.readouterr().err


def test_a_run_that_has_ended_says_that_nothing_is_left(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (run / "config.yaml").read_bytes()
    main(["fit", *stage(run.parent, run)])
    assert "nothing was left to train, the run had ended at step 2" in capsys.readouterr().err
    assert (run / "config.yaml").read_bytes() == before


def test_other_music_in_the_place_of_a_runs_own_is_refused(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.rmtree(run.parent / "tokens")
    make_token_store(run.parent / "tokens", lengths=(12.0, 12.0, 12.0, 12.0))
    line = refused(capsys, ["fit", *stage(run.parent, run, "--trainer.max_steps=3")])
    assert "expected the music that" in line
    assert "2 recordings of" in line
    assert "got 3 of" in line


def test_a_run_of_an_older_version_is_compared_with_its_config(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for file in ("last.ckpt", "previous.ckpt"):
        if not (run / file).is_file():
            continue
        content = torch.load(run / file, weights_only=True)
        content["musiclm"] = {key: content["musiclm"][key] for key in ("part", "trained_on")}
        torch.save(content, run / file)
    lower = f"{OPTIMIZER}.init_args.lr=0.001"
    assert "lr 0.001 (was 0.003)" in refused(capsys, ["fit", *stage(run.parent, run, lower)])
    main(["fit", *stage(run.parent, run, "--trainer.max_steps=3")])


def test_a_run_that_begins_from_anothers_checkpoint_takes_its_own_values(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    second = run.parent / "second"
    lower = f"{OPTIMIZER}.init_args.lr=0.0003"
    begins = ["--trainer.max_steps=3", lower, f"--ckpt_path={run / 'last.ckpt'}"]
    main(["fit", *stage(run.parent, second, *begins)])
    assert (
        "step 2, with --model.init_args.optimizer.init_args.lr 0.0003 (was 0.003)" in capsys.readouterr().err
    )
    assert rates(run) == [0.003, 0.003]
    assert rates(second) == [0.0003, 0.0003]
    other = [*begins, f"{OPTIMIZER}=torch.optim.SGD"]
    assert "expected the optimizer whose state" in refused(
        capsys, ["fit", *stage(run.parent, run.parent / "third", *other)]
    )
    # The same line again goes on with the second run, and does not begin it again
    main(["fit", *stage(run.parent, second, *begins, "--trainer.max_steps=4")])
    assert f"resuming from {second / 'last.ckpt'}" in capsys.readouterr().err


def test_validating_changes_nothing_in_the_run(run: Path) -> None:
    before = contents(run)
    lower = f"{OPTIMIZER}.init_args.lr=7"
    main(["validate", *stage(run.parent, run, lower)])
    assert contents(run) == before


def test_the_second_of_two_runs_in_a_folder_is_refused_and_validating_is_not(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with only_writer(run):
        assert "is at it" in refused(capsys, ["fit", *stage(run.parent, run, "--trainer.max_steps=3")])
        main(["validate", *stage(run.parent, run)])


def test_a_broken_last_checkpoint_costs_a_run_what_came_after_the_one_before(
    run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", *stage(run.parent, run, "--trainer.max_steps=4")])
    (run / "last.ckpt").write_bytes(b"")
    capsys.readouterr()
    main(["fit", *stage(run.parent, run, "--trainer.max_steps=4")])
    said = capsys.readouterr().err.splitlines()
    assert "the one before it is used" in said[0]
    assert said[1] == f"resuming from {run / 'previous.ckpt'}"
    for name, step in (("last.ckpt", 4), ("previous.ckpt", 2)):
        assert torch.load(run / name, weights_only=True)["global_step"] == step
        (run / name).write_bytes(b"")
    line = refused(capsys, ["fit", *stage(run.parent, run, "--trainer.max_steps=4")])
    assert "remove what is broken" in line


@pytest.mark.parametrize("more", ["--trainer.strategy=ddp", "--trainer.strategy=fsdp", "--trainer.devices=2"])
def test_what_is_fitted_without_gradients_is_refused_for_several_processes(
    more: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save_component(
        tmp_path / "melody",
        "melody_embedding",
        MelodyEmbedding(**MELODY),
        class_path="musiclm.tokenizers.melody.MelodyEmbedding",
        init_args=MELODY,
        storage="float32",
    )
    needs = f"--model.init_args.melody={tmp_path / 'melody'}"
    line = refused(capsys, ["fit", *words("melody_rvq", "melodies=nowhere", tmp_path / "run", needs, more)])
    assert "expected one process for ResidualQuantizer, which is fitted without gradients" in line
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.parametrize(
    ("changed", "found"),
    [
        ({}, []),
        ({"data": {"init_args": {"tokens": "elsewhere", "num_workers": 3}}}, []),
        (
            {"model": {"init_args": {"optimizer": {"init_args": {"lr": 2}}}}},
            [("model.init_args.optimizer.init_args.lr", 1, 2)],
        ),
        ({"model": {"class_path": "B", "init_args": {"x": 4}}}, [("model", "A", "B")]),
        ({"data": {"init_args": {"newer": 1}}}, []),
        ({"trainer": {"max_steps": 9, "accelerator": "gpu"}}, []),
        ({"trainer": {"precision": "64-true"}}, [("trainer.precision", "32-true", "64-true")]),
        # The tower of a part, and not the folder of recordings
        ({"model": {"init_args": {"part": {"audio": 2}}}}, [("model.init_args.part.audio", 1, 2)]),
    ],
)
def test_what_matters_of_two_configurations_is_compared(changed: dict[str, Any], found: list[Any]) -> None:
    config = {
        "trainer": {"precision": "32-true", "max_steps": 3, "accelerator": "cpu"},
        "model": {
            "class_path": "A",
            "init_args": {"optimizer": {"class_path": "O", "init_args": {"lr": 1}}, "part": {"audio": 1}},
        },
        "data": {"class_path": "D", "init_args": {"tokens": "here", "num_workers": 0}},
    }
    assert differences(values_that_matter(config), values_that_matter(merged(config, changed))) == found


def merged(config: dict[str, Any], changed: dict[str, Any]) -> dict[str, Any]:
    both = {key: merged(config[key], value) for key, value in changed.items() if isinstance(value, dict)}
    return {**config, **changed, **both}


def test_a_machine_without_a_home_hears_only_what_fit_says(tmp_path: Path) -> None:
    command = ["fit", *stage(tmp_path, tmp_path / "run", "--trainer.precision=16-true")]
    no_home = {**os.environ, "HOME": os.devnull, "XDG_CONFIG_HOME": os.devnull, "XDG_CACHE_HOME": os.devnull}
    run = subprocess.run(
        [sys.executable, "-m", "musiclm.cli", *command], cwd=ROOT, env=no_home, capture_output=True, text=True
    )
    assert run.returncode == 2
    assert run.stderr.startswith("musiclm fit: expected a precision of 32-true")
    assert run.stderr.count("\n") == 1
