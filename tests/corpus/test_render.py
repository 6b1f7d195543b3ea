"""A rendered corpus: the same bytes every time, whole at every moment, its table true."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet
import pytest
import soundfile

from musiclm.corpus import render as rendering
from musiclm.corpus.composer import compose
from musiclm.corpus.labels import labels
from musiclm.corpus.render import pieces, render
from musiclm.corpus.table import is_held_out, row_of, split_of
from musiclm.data.sources import find_recordings
from musiclm.data.sources.corpus_table import read_table

HOURS = 0.015  # two pieces or so


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    render(folder, hours=HOURS, seed=3, workers=1)
    return folder


@pytest.mark.usefixtures("warm_workers")
def test_same_seed_gives_the_same_bytes_with_any_number_of_workers(corpus: Path, tmp_path: Path) -> None:
    render(tmp_path, hours=HOURS, seed=3, workers=2)
    assert contents(tmp_path) == contents(corpus)


def test_table_and_files_agree(corpus: Path) -> None:
    rows = pyarrow.parquet.read_table(corpus / "corpus.parquet").to_pylist()
    assert {row["path"] for row in rows} == {f"audio/{path.name}" for path in corpus.glob("audio/*")}
    assert sum(row["seconds"] for row in rows) >= HOURS * 3600
    assert sum(row["seconds"] for row in rows[:-1]) < HOURS * 3600
    for row in rows:
        info = soundfile.info(corpus / row["path"])
        assert (info.samplerate, info.channels, info.subtype) == (24_000, 1, "PCM_16")
        assert info.frames == round(row["seconds"] * 24_000)
        assert row["licence"] == "CC0-1.0"
        assert len(row["captions"]) >= 2
        starts = [chord["start"] for chord in row["chords"]]
        assert starts == sorted(starts)
        assert starts[0] == 0
        assert starts[-1] < row["seconds"]
        piece = compose(row["seed"], piece_id=row["id"])
        assert row["tempo"] == piece.attributes.tempo
        assert row["key"].endswith((" major", " minor"))


def test_labels_are_in_the_sound(corpus: Path) -> None:
    for row in pyarrow.parquet.read_table(corpus / "corpus.parquet").to_pylist():
        sound, _ = soundfile.read(corpus / row["path"])
        assert np.abs(sound).max() <= 10 ** (-1 / 20) + 1e-4
        assert 20 * np.log10(np.sqrt((sound**2).mean())) == pytest.approx(-18, abs=2.5)


def test_recordings_are_found_with_their_labels(corpus: Path) -> None:
    recordings = find_recordings(corpus)
    assert len(recordings) >= 2
    assert {recording.split for recording in recordings} == {"train", "valid"}
    assert all(recording.captions and recording.labels["genre"] for recording in recordings)


def test_a_shorter_corpus_is_the_beginning_of_a_longer_one() -> None:
    short = list(pieces(0.05, seed=3))
    long = list(pieces(0.2, seed=3))
    assert len(long) > len(short) >= 3
    assert long[: len(short)] == short
    assert short != list(pieces(0.05, seed=4))
    assert [row_of(piece, k) for k, piece in enumerate(short)] == [
        row_of(piece, k) for k, piece in enumerate(long[: len(short)])
    ]


def test_killed_at_any_moment_it_finishes_to_the_same_bytes(corpus: Path, tmp_path: Path) -> None:
    program = (
        "import sys; from pathlib import Path; from musiclm.corpus.render import render\n"
        "if __name__ == '__main__': render(Path(sys.argv[1]), hours=1.0, seed=3, workers=1)"
    )
    running = subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stderr=subprocess.DEVNULL, env=os.environ
    )
    audio = tmp_path / "audio"
    deadline = time.monotonic() + 30
    while not list(audio.glob("[!.]*.flac")) and time.monotonic() < deadline:
        time.sleep(0.005)
    running.send_signal(signal.SIGKILL)
    running.wait()

    made = list(audio.glob("[!.]*.flac"))
    assert made, "nothing was rendered within half a minute"
    assert not (tmp_path / "corpus.parquet").exists(), "a table before its files"
    stamps = {path: path.stat().st_mtime_ns for path in made}

    render(tmp_path, hours=HOURS, seed=3, workers=1)
    after = contents(tmp_path)
    assert {name: after[name] for name in contents(corpus)} == contents(corpus)
    assert {path: path.stat().st_mtime_ns for path in made} == stamps, "made again without need"
    assert not list(tmp_path.rglob(".*"))


def test_damaged_or_outdated_files_are_made_again(corpus: Path, tmp_path: Path) -> None:
    piece = next(pieces(HOURS, seed=3))
    path = tmp_path / f"{piece.id}.flac"
    whole = (corpus / "audio" / path.name).read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    rendering._render_piece(piece, tmp_path)
    assert contents(tmp_path) == {path.name: whole}

    softer = replace(piece.tracks[0].notes[0], velocity=1)
    track = replace(piece.tracks[0], notes=(softer, *piece.tracks[0].notes[1:]))
    rendering._render_piece(replace(piece, tracks=(track, *piece.tracks[1:])), tmp_path)
    assert path.read_bytes() != whole


def test_held_out_tunes_are_never_trained_on() -> None:
    piece = compose(1, piece_id="x")

    def on(tune: str) -> Iterator[str]:
        labels = replace(piece.attributes, tune=tune)
        return (split_of(replace(piece, attributes=labels), index) for index in range(100))

    tunes = [f"tune {k}" for k in range(200)]
    held_out = [tune for tune in tunes if is_held_out(tune)]
    assert 0.15 < len(held_out) / len(tunes) < 0.35
    assert set(on(held_out[0])) == {"valid"}
    assert list(on("")).count("valid") == 5
    assert not is_held_out("")


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"hours": 0.0}, "hours above 0"),
        ({"hours": -1.0}, "hours above 0"),
        ({"hours": float("nan")}, "hours above 0"),
        ({"hours": float("inf")}, "hours above 0"),
        ({"seed": -1}, "seed of 0 or more"),
        ({"workers": 0}, "1 worker or more"),
    ],
)
def test_wrong_values_are_refused_in_one_line(wrong: dict, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=expected) as refusal:
        render(tmp_path / "new", **wrong)
    assert "\n" not in str(refusal.value)
    assert not (tmp_path / "new").exists(), "left something behind"


def test_a_file_in_the_folders_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(FileExistsError, match="is a file"):
        render(tmp_path / "file", hours=HOURS)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_corpus_of_another_seed_is_refused(corpus: Path) -> None:
    before = contents(corpus)
    with pytest.raises(ValueError, match="not of a corpus of seed 4"):
        render(corpus, hours=HOURS, seed=4)
    assert contents(corpus) == before


def test_the_table_alone_has_the_rows_of_the_corpus_that_is_played(corpus: Path, tmp_path: Path) -> None:
    labels(tmp_path / "labels", hours=0.05, seed=3)
    alone, played = (read_table(folder) for folder in (tmp_path / "labels", corpus))
    assert len(alone) >= 3
    shorter = min(len(alone), len(played))
    for one, other in zip(alone[:shorter], played[:shorter], strict=True):
        assert replace(one, path=other.path) == other
    assert not (tmp_path / "labels" / "audio").exists()
    with pytest.raises(ValueError, match=r"^expected a folder without recordings, [^\n]+$"):
        labels(corpus, hours=0.05, seed=3)
    with pytest.raises(ValueError, match=r"^expected hours above 0 [^\n]+$"):
        labels(tmp_path / "none", hours=0.0)
    assert not (tmp_path / "none").exists()
