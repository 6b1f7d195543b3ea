"""Recordings on disk: ids, splits, tables, and what is refused."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow
import pyarrow.parquet
import pytest
import soundfile

from musiclm.audio import Audio
from musiclm.data.left_out import Report
from musiclm.data.sources import find_recordings, split_of
from tests.tiny import SAMPLE_RATE, folder_of_tones, melody, tone


def ids(*places: Path) -> list[str]:
    return [recording.id for recording in find_recordings(places)]


def reasons(report: Report) -> dict[str, str]:
    return {entry.path.name: entry.reason for entry in report.left_out}


def save_tone(path: Path, pitch: float = 440.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return tone(0.2, pitch=pitch).save(path)


def write_table(folder: Path, rows: list[dict[str, Any]]) -> None:
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "corpus.parquet")


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


def test_recordings_of_one_name_are_all_taken_and_told_apart(tmp_path: Path) -> None:
    one, two = save_tone(tmp_path / "cd1" / "track01.wav"), save_tone(tmp_path / "cd2" / "track01.wav", 300)
    assert ids(tmp_path) == ["cd1/track01", "cd2/track01"]
    assert ids(one, two) == ids(tmp_path / "cd1", tmp_path / "cd2") == ["cd1/track01.wav", "cd2/track01.wav"]
    same = save_tone(tmp_path / "other" / "cd1" / "track01.wav", 200)
    save_tone(same.with_name("alone.wav"), 250)
    assert ids(tmp_path / "cd1", same.parent) == [
        "alone",
        "other/cd1/track01.wav",
        f"{tmp_path.name}/cd1/track01.wav",
    ]


def test_two_formats_of_one_name_are_told_apart_in_one_split(tmp_path: Path) -> None:
    name = next(name for name in map(str, range(100)) if split_of(name) == "valid")
    for number, suffix in enumerate((".wav", ".flac", ".wav.flac")):
        save_tone(tmp_path / f"{name}{suffix}", 200.0 + number)
    recordings = find_recordings(tmp_path)
    assert len(recordings) == len({recording.id for recording in recordings}) == 3
    whole = {recording.path.name: recording for recording in recordings}
    assert whole[f"{name}.wav.flac"].id == f"{name}.wav"  # whose id no other had
    assert whole[f"{name}.wav"].split == whole[f"{name}.flac"].split == "valid"


def test_a_name_that_is_not_utf8_is_a_name(tmp_path: Path) -> None:
    for name in (b"mod\xe0.wav", b"mod\xe8.wav"):
        with open(os.fsencode(tmp_path) + b"/" + name, "wb") as file:
            soundfile.write(
                file, np.random.default_rng(len(name)).normal(size=3000) * 0.1, 24_000, format="WAV"
            )
    report = Report()
    recordings = find_recordings(tmp_path, report)
    assert [recording.id for recording in recordings] == ["mod\\xe0", "mod\\xe8"]
    assert Audio.load(recordings[0].path).seconds == pytest.approx(0.125)


def test_an_argument_given_twice_counts_once(tmp_path: Path) -> None:
    folder = folder_of_tones(tmp_path / "a", 2, seconds=0.1)
    report = Report()
    assert len(find_recordings([folder, folder, folder / "tone00.wav"], report)) == 2
    assert report.left_out == []


def test_identical_recordings_share_a_split_and_are_reported(tmp_path: Path) -> None:
    held_out, heard = (
        next(name for name in map(str, range(100)) if split_of(name) == split) for split in ("valid", "train")
    )
    for name in (held_out, heard):
        melody(0.5, seed=0).save(tmp_path / f"{name}.wav")
    melody(0.5, seed=1).save(tmp_path / "other.wav")  # of the same size
    report = Report()
    recordings = {recording.id: recording for recording in find_recordings(tmp_path, report)}
    assert len(recordings) == 3
    assert recordings[held_out].split == recordings[heard].split == "train"
    first, second = sorted((tmp_path / f"{held_out}.wav", tmp_path / f"{heard}.wav"))
    assert [(entry.path, entry.reason) for entry in report.warnings] == [(second, f"identical to {first}")]


def test_a_table_of_ones_own_needs_ids_and_paths_alone(tmp_path: Path) -> None:
    folder_of_tones(tmp_path, 3, seconds=0.2)
    write_table(tmp_path, [{"id": "b", "path": "tone01.wav", "mood": "calm"}])
    (recording,) = find_recordings(tmp_path)
    assert (recording.id, recording.labels, recording.captions) == ("b", {"mood": "calm"}, ())
    assert (recording.split, recording.licence) == (split_of("b"), "unknown")
    assert recording.seconds == pytest.approx(0.2)
    write_table(tmp_path, [{"id": "b", "path": "tone01.wav", "captions": "one text", "split": "valid"}])
    assert find_recordings(tmp_path)[0].captions == ("one text",)


def test_what_a_table_names_wrongly_is_left_out(tmp_path: Path) -> None:
    folder_of_tones(tmp_path, 1, seconds=0.2)
    (tmp_path / "words.wav").write_text("no audio")
    paths = ["tone00.wav", "tone00.wav", "gone.wav", "words.wav"]
    write_table(tmp_path, [{"id": str(number), "path": path} for number, path in enumerate(paths)])
    report = Report()
    assert [recording.id for recording in find_recordings(tmp_path, report)] == ["0"]
    said = reasons(report)
    assert set(said) == set(paths)
    assert "twice" in said["tone00.wav"]
    assert "not there" in said["gone.wav"]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"name": "a"}], "expected 'id' of every recording"),
        ([{"id": "a", "path": None}], "expected 'path' of every recording"),
        ([{"id": "a", "path": "a.wav", "split": "dev"}], "has 'dev'"),
    ],
)
def test_a_table_that_lacks_something_says_what(tmp_path: Path, rows: list[Any], said: str) -> None:
    write_table(tmp_path, rows)
    with pytest.raises(ValueError, match=said):
        find_recordings(tmp_path)


def test_a_damaged_table_is_named(tmp_path: Path) -> None:
    (tmp_path / "corpus.parquet").write_bytes(b"PAR1 torn")
    with pytest.raises(ValueError, match=r"corpus\.parquet, it cannot be read"):
        find_recordings(tmp_path)


def test_missing_empty_and_broken_sources_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="found nothing"):
        find_recordings(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="found none"):
        find_recordings(tmp_path)
    (tmp_path / "broken.wav").write_text("no audio")
    with pytest.raises(ValueError, match=r"none can be used: .*broken\.wav: expected an audio file"):
        find_recordings(tmp_path)


def test_recordings_too_short_for_anything_are_left_out(tmp_path: Path) -> None:
    tone(1.0).save(tmp_path / "long.wav")
    Audio(tone(1.0).waveform[:, :1], SAMPLE_RATE).save(tmp_path / "sample.wav")
    Audio(tone(1.0).waveform[:, :0], SAMPLE_RATE).save(tmp_path / "none.wav")
    report = Report()
    assert [recording.id for recording in find_recordings(tmp_path, report)] == ["long"]
    assert set(reasons(report)) == {"sample.wav", "none.wav"}
