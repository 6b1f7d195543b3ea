"""Datasets of Hugging Face: recordings that lie inside tables, as the hub and `save_to_disk` have them."""

import json
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

from musiclm.data.left_out import Report
from musiclm.data.sources import Recording, SourceOptions, find_recordings
from tests.tiny import tone

AUDIO = pyarrow.struct({"bytes": pyarrow.binary(), "path": pyarrow.string()})
FEATURES = {"info": {"features": {"song": {"_type": "Audio"}, "cover": {"_type": "Image"}}}}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUSICLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def sound(folder: Path, pitch: float, ending: str = ".wav") -> bytes:
    folder.mkdir(parents=True, exist_ok=True)
    tone(0.3, pitch=pitch).save(folder / f"made{ending}")
    return (folder / f"made{ending}").read_bytes()


def table_of(
    column: str, rows: list[dict[str, Any]], features: dict[str, Any] | None = None
) -> pyarrow.Table:
    types = {column: AUDIO} | ({"cover": AUDIO} if features else {})
    names = dict.fromkeys(name for row in rows for name in row)
    arrays = {name: pyarrow.array([row.get(name) for row in rows], types.get(name)) for name in names}
    metadata = {b"huggingface": json.dumps(features).encode()} if features else None
    return pyarrow.table(arrays).replace_schema_metadata(metadata)


def write_parquet(file: Path, table: pyarrow.Table) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(table, file)


def write_stream(file: Path, table: pyarrow.Table) -> None:
    """As `save_to_disk` does."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with pyarrow.OSFile(str(file), "wb") as sink, pyarrow.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)


def found(place: Path, report: Report | None = None, **options: Any) -> dict[str, Recording]:
    return {each.id: each for each in find_recordings(place, report, SourceOptions(**options))}


def test_a_dataset_of_the_hub_is_recordings_with_captions_labels_and_splits(tmp_path: Path) -> None:
    rows = [
        {"audio": {"bytes": sound(tmp_path / "m", 220.0), "path": "harp.wav"}, "text": "A harp", "bpm": 120},
        {"audio": {"bytes": sound(tmp_path / "m", 330.0, ".flac"), "path": None}, "text": "Two", "bpm": 90},
    ]
    write_parquet(tmp_path / "set" / "data" / "train-00000-of-00001.parquet", table_of("audio", rows[:1]))
    write_parquet(tmp_path / "set" / "data" / "test-00000-of-00001.parquet", table_of("audio", rows[1:]))
    recordings = found(tmp_path / "set")
    harp = recordings["train-00000-of-00001/0000001-harp"]
    other = recordings["test-00000-of-00001/0000001"]
    assert (harp.captions, harp.split, harp.labels) == (("A harp",), "train", {"bpm": 120})
    assert (other.captions, other.split, other.path.suffix) == (("Two",), "valid", ".flac")
    assert harp.seconds == pytest.approx(0.3)
    assert harp.path.read_bytes() == rows[0]["audio"]["bytes"]


def test_what_was_saved_to_disk_is_read_without_the_library(tmp_path: Path) -> None:
    for number, split in enumerate(("train", "validation")):
        content = sound(tmp_path / "m", 200.0 + 100 * number)
        row = {"song": {"bytes": content, "path": "a.wav"}, "cover": {"bytes": b"\x89PNG", "path": "a.png"}}
        file = tmp_path / "set" / split / "data-00000-of-00001.arrow"
        write_stream(file, table_of("song", [row], FEATURES))
        (file.parent / "state.json").write_text("{}")
    (tmp_path / "set" / "dataset_dict.json").write_text(json.dumps({"splits": ["train", "validation"]}))
    recordings = found(tmp_path / "set")
    assert {id: each.split for id, each in recordings.items()} == {
        "train/data-00000-of-00001/0000001-a": "train",
        "validation/data-00000-of-00001/0000001-a": "valid",
    }
    assert set(found(tmp_path / "set" / "train")) == {"train/data-00000-of-00001/0000001-a"}


def test_a_recording_is_written_once(tmp_path: Path, cache: Path) -> None:
    rows = [{"audio": {"bytes": sound(tmp_path / "m", 220.0), "path": "../../../a.wav"}}]
    write_parquet(tmp_path / "songs.parquet", table_of("audio", rows))
    (first,) = found(tmp_path / "songs.parquet").values()
    assert first.path.is_relative_to(cache)
    written = first.path.stat().st_mtime_ns
    (second,) = found(tmp_path / "songs.parquet").values()
    assert (second.path, second.path.stat().st_mtime_ns) == (first.path, written)


def test_a_recording_beside_its_table_is_read_there(tmp_path: Path) -> None:
    tone(0.3).save(tmp_path / "a.wav")
    rows = [{"audio": {"bytes": None, "path": name}} for name in ("a.wav", "/etc/passwd")]
    write_parquet(tmp_path / "train.parquet", table_of("audio", rows))
    report = Report()
    assert list(found(tmp_path, report)) == ["a"]
    assert "--source.anywhere" in report.left_out[0].reason


def test_a_row_without_audio_and_audio_that_is_none_are_left_out(tmp_path: Path) -> None:
    rows = [
        {"audio": {"bytes": sound(tmp_path / "m", 220.0), "path": "good.wav"}},
        {"audio": None},
        {"audio": {"bytes": b"no audio at all", "path": "bad.mp3"}},
    ]
    write_parquet(tmp_path / "set" / "train.parquet", table_of("audio", rows))
    report = Report()
    assert list(found(tmp_path / "set", report)) == ["train/0000001-good"]
    empty, no_audio = report.left_out
    assert empty.reason == "row 2 has no audio"
    assert no_audio.path.name == "0000003-bad.mp3"


def test_tables_without_audio_leave_a_folder_as_it_is(tmp_path: Path) -> None:
    tone(0.3).save(tmp_path / "a.wav")
    write_parquet(tmp_path / "numbers.parquet", pyarrow.table({"x": [1]}))
    picture = {"cover": {"bytes": b"\x89PNG", "path": "a.png"}}
    write_parquet(tmp_path / "pictures.parquet", table_of("cover", [picture]))
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 nothing")
    (tmp_path / "broken.arrow").write_bytes(b"")
    assert list(found(tmp_path)) == ["a"]


def test_a_damaged_table_is_one_line(tmp_path: Path) -> None:
    rows = [{"audio": {"bytes": sound(tmp_path / "m", 220.0 + n), "path": f"{n}.wav"}} for n in range(40)]
    write_stream(tmp_path / "set.arrow", table_of("audio", rows))
    whole = (tmp_path / "set.arrow").read_bytes()
    (tmp_path / "set.arrow").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(
        ValueError, match=r"^expected recordings in [^\n]+set\.arrow, it cannot be read: [^\n]+$"
    ):
        found(tmp_path / "set.arrow")
