"""Recordings on disk: folders with and without a table, and what is refused."""

from pathlib import Path

import pytest

from musiclm.data.sources import find_recordings
from tests.tiny import folder_of_tones


def test_a_folder_of_files_needs_no_table(tmp_path: Path) -> None:
    recordings = find_recordings(folder_of_tones(tmp_path / "music", 3, seconds=0.5))
    assert [recording.id for recording in recordings] == ["tone00", "tone01", "tone02"]
    assert recordings[1].captions == ("a steady tone, number 1", "a plain sine")
    assert recordings[0].seconds == pytest.approx(0.5)


def test_the_split_of_a_recording_depends_on_its_name_alone(tmp_path: Path) -> None:
    few = find_recordings(folder_of_tones(tmp_path / "few", 2, seconds=0.1))
    many = find_recordings(folder_of_tones(tmp_path / "many", 40, seconds=0.1))
    assert [recording.split for recording in few] == [recording.split for recording in many[:2]]
    assert {recording.split for recording in many} == {"train", "valid"}


def test_files_and_folders_can_be_mixed_but_not_doubled(tmp_path: Path) -> None:
    folder = folder_of_tones(tmp_path / "a", 2, seconds=0.1)
    other = folder_of_tones(tmp_path / "b", 1, seconds=0.1) / "tone00.wav"
    assert len(find_recordings([folder / "tone00.wav", folder / "tone01.wav"])) == 2
    with pytest.raises(ValueError, match="twice"):
        find_recordings([folder, other])


def test_missing_empty_and_broken_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="found nothing"):
        find_recordings(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="found none"):
        find_recordings(tmp_path)
    (tmp_path / "broken.wav").write_text("no audio")
    with pytest.raises(ValueError, match="cannot be read"):
        find_recordings(tmp_path)
