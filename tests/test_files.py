"""Files stay whole, and a folder has one writer."""

import subprocess
import sys
from pathlib import Path

import pytest

from musiclm.files import LOCK, only_writer, replacing, write_whole

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
