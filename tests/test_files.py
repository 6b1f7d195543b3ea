"""Files stay whole, and a folder has one writer."""

import errno
import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from musiclm import files
from musiclm.files import (
    LOCK,
    only_writer,
    only_writer_to,
    remove_leftovers,
    remove_unfinished,
    replacing,
    write_whole,
)

HOLD = """
import sys, time
from pathlib import Path
from musiclm.files import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_what_fails_while_it_writes_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "file.txt"
    write_whole(file, b"before")
    with pytest.raises(ValueError, match="embedded null byte"), replacing(file) as temporary:
        print(temporary.write_bytes(b"half"), (tmp_path / "no\0name").read_bytes())
    assert file.read_bytes() == b"before"
    assert list(tmp_path.iterdir()) == [file]


def test_what_killed_processes_have_left_of_files_is_removed_and_nothing_else(tmp_path: Path) -> None:
    for name in (".a.1.tmp.flac", ".b.22.tmp.flac", ".last.3.tmp.ckpt", "a.flac", ".hidden"):
        (tmp_path / name).touch()
    remove_leftovers(tmp_path, "last.ckpt")
    assert not (tmp_path / ".last.3.tmp.ckpt").exists()
    assert (tmp_path / ".a.1.tmp.flac").exists()
    remove_leftovers(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {"a.flac", ".hidden"}


def test_files_are_renamed_into_place_in_one_module_alone() -> None:
    """But for folders (the audit's), and a checkpoint that becomes the one before."""
    package = Path(files.__file__).parent
    renaming = {
        str(file.relative_to(package))
        for file in package.rglob("*.py")
        if re.search(r"os\.replace\(|os\.rename\(|\.rename\(|temporary\.replace\(", file.read_text())
    }
    assert renaming == {"files.py", "audit/canaries.py", "audit/search.py"}


def test_the_second_writer_of_a_folder_is_told_of_the_first(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout
        assert other.stdout.readline() == "held\n"
        with pytest.raises(BlockingIOError, match=f"process {other.pid} on"), only_writer(tmp_path):
            pass
        other.kill()
    with only_writer(tmp_path):  # a process that was killed holds nothing
        pass
    assert not (tmp_path / LOCK).exists()


def test_a_folder_is_free_after_its_writer(tmp_path: Path) -> None:
    for _ in range(2):
        with only_writer(tmp_path / "new"):
            assert (tmp_path / "new" / LOCK).exists()
    assert list((tmp_path / "new").iterdir()) == []


def test_a_file_in_the_place_of_a_folder_is_named(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", b"")
    with pytest.raises(FileExistsError, match="is a file"), only_writer(tmp_path / "file"):
        pass


def test_a_command_holds_its_folder_and_leaves_none_behind_for_a_mistake(tmp_path: Path) -> None:
    @only_writer_to("out")
    def command(value: int, out: Path | None = tmp_path / "usual") -> int:
        if value < 0:
            raise ValueError("too little")
        if out:
            assert (out / LOCK).exists()
            (out / "file").touch()
        return value

    assert command(1) == command(1, out=tmp_path / "other") == command(1, None) == 1
    assert sorted(tmp_path.rglob("*")) == [
        tmp_path / "other",
        tmp_path / "other" / "file",
        tmp_path / "usual",
        tmp_path / "usual" / "file",
    ]
    with pytest.raises(ValueError, match="too little"):
        command(-1, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_a_signal_that_comes_as_a_file_is_put_away_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(self: Path, *, missing_ok: bool) -> None:
        raise KeyboardInterrupt

    writing = replacing(tmp_path / "a.wav")
    file = writing.__enter__()
    file.write_text("half")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "unlink", interrupted)
        with pytest.raises(KeyboardInterrupt):
            writing.__exit__(ValueError, ValueError("the work has failed"), None)
    assert file.exists()
    remove_unfinished()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("function", "argument"),
    [
        ("musiclm.audit.audit:audit", "out"),
        ("musiclm.corpus.labels:labels", "out"),
        ("musiclm.corpus.render:render", "out"),
        ("musiclm.corpus.melodies:melodies", "out"),
        ("musiclm.evaluate.codec:codec", "out"),
        ("musiclm.evaluate.adherence:adherence", "out"),
        ("musiclm.evaluate.following:following", "out"),
    ],
)
def test_the_second_of_two_commands_on_a_folder_is_refused_before_it_works(
    function: str, argument: str, tmp_path: Path
) -> None:
    module, name = function.split(":")
    command = getattr(importlib.import_module(module), name)
    # To another file description, a lock is another's, in the same process as well
    with only_writer(tmp_path), pytest.raises(BlockingIOError, match=f"process {os.getpid()} on"):
        command(**{argument: tmp_path})


def test_a_file_system_without_locks_is_said_and_written_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", refuse)
    with only_writer(tmp_path):
        write_whole(tmp_path / "file", b"")
    assert (
        capsys.readouterr().err
        == f"{tmp_path}: this file system has no locks, so other writers are not seen\n"
    )
