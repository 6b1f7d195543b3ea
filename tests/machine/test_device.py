"""Which device a model runs on, and one line where the machine has no such device."""

from pathlib import Path

import pytest
import torch
from torch import nn

from musiclm.cli import main
from musiclm.machine.device import choose_device, device_of

CPU, CUDA, SECOND, MPS = (torch.device(name) for name in ("cpu", "cuda:0", "cuda:1", "mps"))


def machine(monkeypatch: pytest.MonkeyPatch, *, gpus: int, mps: bool) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(("gpus", "mps", "device"), [(2, False, CUDA), (0, True, MPS), (0, False, CPU)])
def test_auto_is_the_first_gpu_or_else_the_cpu(
    gpus: int, mps: bool, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine(monkeypatch, gpus=gpus, mps=mps)
    assert choose_device() == choose_device("auto") == device
    assert choose_device("cpu") == CPU


def test_a_gpu_has_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpus=2, mps=False)
    assert choose_device("cuda") == CUDA  # so that a device can be compared with a tensor's
    assert choose_device("cuda:1") == SECOND


@pytest.mark.parametrize("name", ["gpu", "cuda:x", "", "xpu", "meta"])
def test_no_device_at_all_is_said_so(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpus=1, mps=True)
    with pytest.raises(ValueError, match="among auto, cpu, cuda, cuda:N and mps, got ") as error:
        choose_device(name)
    assert repr(name) in str(error.value)


@pytest.mark.parametrize(("gpus", "name"), [(0, "cuda"), (1, "cuda:1"), (2, "mps")])
def test_a_device_that_is_not_there_is_said_so(gpus: int, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    machine(monkeypatch, gpus=gpus, mps=False)
    with pytest.raises(ValueError, match=f"it has no {name}: say --device cpu"):
        choose_device(name)


COMMANDS = [
    ("generate", "a violin"),
    ("story", "--at", "0:00", "a violin"),
    ("tokenize", "music"),
    ("audit",),
    *(
        ("evaluate", name)
        for name in ("semantic", "codec", "mulan", "following", "melody", "adherence", "negation")
    ),
    *(("evaluate", name, "music") for name in ("fad", "quality", "text")),
    ("evaluate", "labels", "music", "--passt", "weights.pt"),
    ("evaluate", "benchmark", "musiccaps", "table.csv", "music"),
]


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
@pytest.mark.parametrize(
    ("device", "line"),
    [
        ("cuda:7", "expected a device of this machine, it has no cuda:7: say"),
        ("tpu", "expected a device among"),
    ],
)
def test_every_command_that_runs_a_model_says_it_in_one_line(
    words: tuple[str, ...],
    device: str,
    line: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    machine(monkeypatch, gpus=0, mps=False)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main([*words, "--device", device])
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert line in captured.err
    assert not list(tmp_path.iterdir())


def test_a_component_is_where_its_weights_are() -> None:
    assert device_of(nn.Linear(2, 2, device="meta")) == torch.device("meta")
    assert device_of(nn.BatchNorm1d(2, affine=False, device="meta")) == torch.device("meta")
    assert device_of(nn.Identity()) == device_of("a tokenizer of a test") == CPU
