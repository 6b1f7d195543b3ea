"""Melodies in versions: the same tune at the same beats, whole files, a true table."""

from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import soundfile

from musiclm.corpus.melodies import melodies, row_of, versions
from musiclm.corpus.render import pieces
from musiclm.corpus.table import split_of

HOURS = 0.015  # two pieces or so
KINDS = {"original", "tempo", "instrument", "hum", "whistle"}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("melodies")
    melodies(folder, hours=HOURS, seed=3, workers=1)
    return folder


def test_table_and_files_agree(folder: Path) -> None:
    rows = pyarrow.parquet.read_table(folder / "melodies.parquet").to_pylist()
    files = {str(path.relative_to(folder)) for path in folder.glob("*/*.flac")}
    assert files == {row[stem] for row in rows for stem in ("lead", "band") if row[stem]}
    splits = {piece.id: split_of(piece, index) for index, piece in enumerate(pieces(HOURS, 3))}
    for piece, split in splits.items():
        own = [row for row in rows if row["piece"] == piece]
        assert {row["version"] for row in own} == KINDS
        assert {row["split"] for row in own} == {split}
    for row in rows:
        for stem in ("lead", "band"):
            if row[stem]:
                info = soundfile.info(folder / row[stem])
                assert (info.samplerate, info.channels, info.subtype) == (24_000, 1, "PCM_16")
                assert info.frames == round(row["seconds"] * 24_000)
        assert row["starts"] == sorted(row["starts"])
        assert row["starts"][-1] + row["durations"][-1] <= row["seconds"]


def test_versions_share_their_tune_and_little_else() -> None:
    for piece in pieces(0.1, seed=3):
        rows = {version.kind: row_of(version, "train") for version in versions(piece)}
        original = rows["original"]
        for kind, row in rows.items():
            assert abs(row["tempo"] / original["tempo"] - 1) <= 0.15 + 1e-9
            # A voice is late by up to 40 ms, and keeps the order of the notes.
            beats = np.array(row["starts"]) * row["tempo"] - np.array(original["starts"]) * original["tempo"]
            assert np.abs(beats / row["tempo"]).max() <= (0.05 if kind in ("hum", "whistle") else 1e-6)
            assert [p % 12 for p in row["pitches"]] == [p % 12 for p in original["pitches"]]
        assert rows["instrument"]["instrument"] != original["instrument"]
        assert rows["tempo"]["instrument"] == original["instrument"]
        assert len({row["tempo"] for row in rows.values()}) == len(KINDS)


def test_a_stem_sounds_where_its_notes_are(folder: Path) -> None:
    rows = pyarrow.parquet.read_table(folder / "melodies.parquet").to_pylist()
    for row in rows:
        sound, rate = soundfile.read(folder / row["lead"])
        first = round(row["starts"][0] * rate)
        assert np.abs(sound[: max(first - rate // 10, 1)]).max() < 0.1 * np.abs(sound).max()
        assert np.abs(sound[first : first + rate]).max() > 0.1 * np.abs(sound).max()


@pytest.mark.usefixtures("warm_workers")
def test_again_it_makes_the_same_bytes_and_only_what_is_missing(folder: Path, tmp_path: Path) -> None:
    melodies(tmp_path, hours=HOURS, seed=3, workers=2)
    assert contents(tmp_path) == contents(folder)
    files = sorted(tmp_path.glob("*/*.flac"))
    files[0].unlink()
    files[1].write_bytes(files[1].read_bytes()[:1000])  # cut short
    (tmp_path / "lead" / ".x.1.tmp.flac").write_bytes(b"left by a run that was killed")
    stamps = {path: path.stat().st_mtime_ns for path in files[2:]}
    melodies(tmp_path, hours=HOURS, seed=3, workers=1)
    assert contents(tmp_path) == contents(folder)
    assert {path: path.stat().st_mtime_ns for path in files[2:]} == stamps


def test_wrong_values_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="hours above 0"):
        melodies(tmp_path / "new", hours=0.0)
    assert not (tmp_path / "new").exists()
