"""bfloat16 is for machines that compute it fast; others train in float32, and say so."""

from functools import wraps
from pathlib import Path

import lightning
import pytest
import torch

from musiclm.cli import main
from musiclm.training import precision
from musiclm.training.precision import computed_in
from tests.tiny import make_token_store
from tests.training.runs import words

pytestmark = pytest.mark.filterwarnings("ignore:.*does not have many workers.*")


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    """What the machine has; a test may change it."""
    has = {"bfloat16": False, "gpu": False}
    monkeypatch.setattr(precision, "multiplies_bfloat16", lambda: has["bfloat16"])
    monkeypatch.setattr(precision, "_has_accelerator", lambda: has["gpu"])
    return has


def test_a_cpu_without_instructions_for_bfloat16_computes_in_float32(machine: dict[str, bool]) -> None:
    for accelerator in ("auto", "cpu"):
        for asked in ("bf16-mixed", "bf16-true"):
            assert computed_in(asked, accelerator) == "32-true"


def test_elsewhere_it_is_as_asked(machine: dict[str, bool]) -> None:
    for asked in ("32-true", "64-true", None):
        assert computed_in(asked, "auto") == asked
    assert computed_in("bf16-mixed", "gpu") == "bf16-mixed"
    machine["gpu"] = True
    assert computed_in("bf16-mixed", "auto") == "bf16-mixed"
    machine.update(gpu=False, bfloat16=True)
    assert computed_in("bf16-mixed", "cpu") == "bf16-mixed"


def test_a_run_goes_on_on_a_machine_of_the_other_kind(
    tmp_path: Path,
    machine: dict[str, bool],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    used: list[str] = []
    fit = lightning.Trainer.fit

    @wraps(fit)  # the command reads its signature
    def watched(self: lightning.Trainer, *arguments: object, **named: object) -> None:
        used.append(self.precision)
        fit(self, *arguments, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(lightning.Trainer, "fit", watched)
    make_token_store(tmp_path / "tokens")
    arguments = words(
        "semantic", f"tokens={tmp_path / 'tokens'}", tmp_path / "run", "--trainer.precision=bf16-mixed"
    )
    main(["fit", *arguments, "--trainer.max_steps=1"])
    said = "computing in float32: this CPU has no instructions for bfloat16 (bf16-mixed)"
    assert said in capsys.readouterr().err
    machine["bfloat16"] = True
    main(["fit", *arguments, "--trainer.max_steps=2"])
    assert used == ["32-true", "bf16-mixed"]
    again = capsys.readouterr().err
    assert "resuming from" in again
    assert said not in again
    last = torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)
    assert last["global_step"] == 2
    assert all(value.dtype != torch.bfloat16 for value in last["state_dict"].values())
