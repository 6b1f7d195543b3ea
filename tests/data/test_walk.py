"""Which files are taken for recordings, which are named, and which are passed over."""

import os
import socket
from pathlib import Path

import pytest

from musiclm.data.walk import find_files
from tests.tiny import tone


def look(*places: Path) -> tuple[list[str], dict[str, str]]:
    """Names of the files found, and the reasons of those left out by their names."""
    found, left_out = find_files(places)
    return [file.path.name for file in found], {entry.path.name: entry.reason for entry in left_out}


@pytest.fixture
def good(tmp_path: Path) -> Path:
    return tone(0.2).save(tmp_path / "good.wav")


def test_content_decides_and_what_lies_beside_music_is_passed_over(good: Path) -> None:
    for name in ("bare", "song.xyz", "song.bin"):
        good.with_name(name).write_bytes(good.read_bytes())
    for name in ("cover.jpg", "notes.txt", "list.m3u", "thumbs.xyz", "README", "info.json"):
        good.with_name(name).write_bytes(b"\xd8\xff\xe0 no audio")
    good.with_name("song.m4a").write_bytes(b"whatever it is, it is tried")
    assert look(good.parent) == (["bare", "good.wav", "song.bin", "song.m4a", "song.xyz"], {})


def test_hidden_files_are_no_recordings(good: Path) -> None:
    for name in ("._good.wav", ".good.flac", ".DS_Store", "__MACOSX/._good.wav", ".trash/old.wav"):
        (good.parent / name).parent.mkdir(exist_ok=True)
        (good.parent / name).write_bytes(good.read_bytes())
    found, left_out = look(good.parent)
    assert found == ["good.wav"]
    assert set(left_out) == {"._good.wav", ".good.flac", "old.wav"}
    assert look(good.with_name(".good.flac"))[0] == [".good.flac"]  # asked for by name


def test_a_folder_named_as_audio_is_a_folder(good: Path) -> None:
    (good.parent / "empty.wav").mkdir()
    (good.parent / "album.wav").mkdir()
    good.rename(good.parent / "album.wav" / "good.wav")
    found, left_out = look(good.parent)
    assert found == ["good.wav"]
    assert list(left_out) == ["empty.wav"]


def test_each_file_is_taken_once_however_many_links_lead_to_it(good: Path) -> None:
    folder = good.parent
    os.link(good, folder / "hard.wav")
    (folder / "again.wav").symlink_to("good.wav")
    (folder / "loop").symlink_to(".")
    (folder / "sub").mkdir()
    tone(0.3).save(folder / "sub" / "other.wav")
    (folder / "a link").symlink_to("sub")
    found, left_out = find_files([folder])
    assert [str(file.path.relative_to(folder)) for file in found] == ["good.wav", "sub/other.wav"]
    assert {entry.path.name for entry in left_out} == {"again.wav", "hard.wav"}
    assert all("the same file as" in entry.reason for entry in left_out)


def test_a_link_out_of_the_folder_is_followed(good: Path, tmp_path: Path) -> None:
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "linked.wav").symlink_to(good)
    assert look(folder) == (["linked.wav"], {})
    (folder / "all").symlink_to(tmp_path)  # the folder itself is in it
    assert look(folder) == (["good.wav"], {"linked.wav": f"the same file as {folder}/all/good.wav"})


def test_broken_and_circular_links_are_named(good: Path) -> None:
    good.with_name("broken.wav").symlink_to("nowhere.wav")
    good.with_name("one.wav").symlink_to("two.wav")
    good.with_name("two.wav").symlink_to("one.wav")
    good.with_name("broken.txt").symlink_to("nowhere.txt")
    found, left_out = look(good.parent)
    assert found == ["good.wav"]
    assert set(left_out) == {"broken.wav", "one.wav", "two.wav"}
    assert look(good.with_name("broken.wav"))[1] == {"broken.wav": left_out["broken.wav"]}


def test_pipes_devices_and_sockets_are_never_opened(good: Path) -> None:
    os.mkfifo(good.with_name("pipe.wav"))
    os.mkfifo(good.with_name("pipe"))
    good.with_name("zero.wav").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(good.with_name("socket.wav")))
        found, left_out = look(good.parent)
    assert found == ["good.wav"]
    assert set(left_out) == {"pipe.wav", "zero.wav", "socket.wav"}
    assert look(good.with_name("pipe"))[1] == {"pipe": "a pipe, not a file"}


def test_a_place_that_does_not_exist_is_a_mistake(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"found nothing at .*nowhere"):
        find_files([tmp_path, tmp_path / "nowhere"])
