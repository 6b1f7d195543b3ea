"""A training that becomes NaN stops within a step, and its last finite checkpoint stays."""

from pathlib import Path

import pytest
import torch

from musiclm.cli import main
from tests.tiny import make_token_store
from tests.training.runs import refused, words

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
RATE = "--model.init_args.optimizer.init_args.lr"


def stage(folder: Path, *more: str, run: str = "run") -> list[str]:
    return words("semantic", f"tokens={folder / 'tokens'}", folder / run, *more)


def test_a_training_that_becomes_nan_stops_and_keeps_what_was_finite(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_token_store(tmp_path / "tokens")
    line = refused(capsys, ["fit", *stage(tmp_path, f"{RATE}=1e30", "--trainer.max_steps=50")])
    assert "has diverged at step 2, the loss is nan" in line
    assert "too high a learning rate, here 1e+30" in line
    assert not (tmp_path / "run" / "last.ckpt").exists()

    main(["fit", *stage(tmp_path, "--trainer.max_steps=2", run="good")])
    last = tmp_path / "good" / "last.ckpt"
    begin = [f"--ckpt_path={last}", f"{RATE}=1e30", "--trainer.max_steps=50"]
    capsys.readouterr()
    with pytest.raises(SystemExit):
        main(["fit", *stage(tmp_path, *begin, run="bad")])
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 2  # where it begins, and why it stops
    assert f"from the last finite weights (--ckpt_path {tmp_path / 'bad' / 'last.ckpt'})" in said[1]
    kept = torch.load(tmp_path / "bad" / "last.ckpt", weights_only=True)
    assert kept["global_step"] == 2
    assert all(value.isfinite().all() for value in kept["state_dict"].values())
    assert not (tmp_path / "bad" / "part").exists()


def test_weights_that_the_last_step_has_made_nan_are_not_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_token_store(tmp_path / "tokens")
    line = refused(capsys, ["fit", *stage(tmp_path, f"{RATE}=.inf", "--trainer.max_steps=1")])
    assert "has diverged at step 1, weights are NaN or infinite" in line
    assert not (tmp_path / "run" / "last.ckpt").exists()


def test_a_precision_that_makes_weights_nan_is_refused_before_anything_is_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, ["fit", *stage(tmp_path, "--trainer.precision=16-true")])
    assert "expected a precision of 32-true, bf16-mixed or 16-mixed, got 16-true" in line
    assert not (tmp_path / "run").exists()
