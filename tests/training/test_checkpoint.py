"""Two checkpoints are kept, each whole; what is broken is passed over, and no code is run from any."""

import os
import pickle
import resource
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from musiclm.files import remove_leftovers
from musiclm.training.checkpoint import (
    LAST,
    PREVIOUS,
    BrokenCheckpoint,
    CheckpointFiles,
    find_checkpoint,
    read_checkpoint,
)


def checkpoint(step: int) -> dict[str, Any]:
    timer = {"Timer": {"time_elapsed": {"train": 3.5}}}
    weights = {"weight": torch.full((64, 64), float(step))}
    return {"state_dict": weights, "global_step": step, "epoch": 0, "loops": {}, "callbacks": timer}


def save(folder: Path, *steps: int) -> CheckpointFiles:
    files = CheckpointFiles()
    for step in steps:
        files.save_checkpoint(checkpoint(step), folder / LAST)
    return files


@contextmanager
def small_files() -> Iterator[None]:
    """The system lets no file grow above 8 kB, as a full disk would not."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8192, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


class Code:
    """Pickled, it makes a file where it is loaded without care."""

    def __init__(self, made: Path) -> None:
        self.made = made

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.made),)


def spoil(file: Path, how: str) -> None:
    content = file.read_bytes()
    middle = len(content) // 2
    with zipfile.ZipFile(file.with_suffix(".zip"), "w") as other:
        other.writestr("words.txt", "no weights")
    spoiled = {
        "empty": b"",
        "text": b"no checkpoint",
        "cut short": content[:middle],
        "a flipped bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "another archive": file.with_suffix(".zip").read_bytes(),
        "a pickle": pickle.dumps(Code(file.parent / "ran")),
    }
    if how == "code":
        torch.save(checkpoint(3) | {"callbacks": Code(file.parent / "ran")}, file)
    elif how == "weights alone":
        torch.save({"weight": torch.zeros(3)}, file)
    else:
        file.write_bytes(spoiled[how])
    file.with_suffix(".zip").unlink()


BROKEN = {
    "empty": "was cut short",
    "text": "was cut short",
    "cut short": "was cut short",
    "a flipped bit": "is damaged",
    "another archive": "another archive",
    "a pickle": "was cut short",
    "code": "holds code",
    "weights alone": "something else",
}


@pytest.mark.parametrize("how", BROKEN)
def test_a_broken_checkpoint_is_said_and_the_one_before_is_used(
    how: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, 1, 2)
    spoil(tmp_path / LAST, how)
    found = find_checkpoint(tmp_path)
    assert found is not None
    assert (found.path.name, found.step, found.seconds) == (PREVIOUS, 1, 3.5)
    said = capsys.readouterr().err
    assert BROKEN[how] in said
    assert "the one before it is used" in said
    assert said.count("\n") == 1
    spoil(tmp_path / PREVIOUS, how)
    with pytest.raises(BrokenCheckpoint, match=r"last\.ckpt.*previous\.ckpt.*remove what is broken"):
        find_checkpoint(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_a_whole_checkpoint_is_used_and_a_run_without_one_has_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert find_checkpoint(tmp_path) is None
    save(tmp_path, 1, 2)
    found = find_checkpoint(tmp_path)
    assert found is not None
    assert (found.path, found.step) == (tmp_path / LAST, 2)
    assert not capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match="found none"):
        read_checkpoint(tmp_path / "other.ckpt")


def test_killed_between_its_two_renames_a_run_goes_on_from_the_one_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path, 1, 2)
    (tmp_path / LAST).rename(tmp_path / PREVIOUS)
    (tmp_path / f".last.{os.getpid()}.tmp.ckpt").write_bytes(b"half")
    found = find_checkpoint(tmp_path)
    assert found is not None
    assert found.step == 2
    assert "is missing; the one before it is used" in capsys.readouterr().err
    remove_leftovers(tmp_path, LAST)
    assert [file.name for file in tmp_path.iterdir()] == [PREVIOUS]


def test_a_broken_last_checkpoint_never_takes_the_place_of_a_whole_one(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    spoil(tmp_path / LAST, "text")
    files = CheckpointFiles()
    files.last_is_broken = True
    files.save_checkpoint(checkpoint(3), tmp_path / LAST)
    assert [read_checkpoint(tmp_path / name).step for name in (PREVIOUS, LAST)] == [1, 3]
    files.save_checkpoint(checkpoint(4), tmp_path / LAST)
    assert [read_checkpoint(tmp_path / name).step for name in (PREVIOUS, LAST)] == [3, 4]


def test_a_full_disk_is_one_line_and_the_checkpoints_before_stay(tmp_path: Path) -> None:
    with small_files(), pytest.raises(OSError, match="nothing is kept yet"):
        save(tmp_path, 1)
    assert list(tmp_path.iterdir()) == []
    save(tmp_path, 1, 2)
    with small_files(), pytest.raises(OSError, match=r"File too large .*last\.ckpt is kept.*make room"):
        save(tmp_path, 3)
    assert [read_checkpoint(tmp_path / name).step for name in (PREVIOUS, LAST)] == [1, 2]
    assert len(list(tmp_path.iterdir())) == 2


def test_what_stops_a_save_leaves_the_checkpoints_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(tmp_path, 1, 2)

    def stopped(content: object, file: Any) -> None:
        file.write(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(torch, "save", stopped)
    with pytest.raises(KeyboardInterrupt):
        save(tmp_path, 3)
    assert [read_checkpoint(tmp_path / name).step for name in (PREVIOUS, LAST)] == [1, 2]
    assert len(list(tmp_path.iterdir())) == 2
