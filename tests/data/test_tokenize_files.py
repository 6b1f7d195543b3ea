"""`musiclm tokenize` and the files that people have: nothing stops it, each is taken or named."""

import os
from collections.abc import Callable
from dataclasses import replace
from itertools import count
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from musiclm.data.sources import as_text
from musiclm.data.store import TokenStore
from musiclm.data.tokenize import Tokenizers
from musiclm.files import shown
from tests.data.tokenizing import Levels, fails, report, run
from tests.tiny import SAMPLE_RATE, folder_of_tones, melody


def names(folder: Path, save: Callable[[str], None]) -> None:
    for name in (
        "sp ace %20",
        "ünï—日本 🎻",
        "[live] (2)",
        "-dash",
        "a.b.c",
        "nl\nline",
        "x" * 240,
        "mod\udce0",
    ):
        save(f"{name}.wav")
    save("UPPER.WAV")


def stems(folder: Path, save: Callable[[str], None]) -> None:
    for name in ("cd1/track01.wav", "cd2/track01.wav", "same.wav", "same.flac"):
        save(name)


def hidden(folder: Path, save: Callable[[str], None]) -> None:
    (folder / "__MACOSX").mkdir()
    for name in ("._good.wav", "__MACOSX/._good.wav"):
        (folder / name).write_bytes(b"\x00\x05\x16\x07" + bytes(200))
    (folder / "folder.wav").mkdir()


def links(folder: Path, save: Callable[[str], None]) -> None:
    for link, to in (("loop", "."), ("broken.wav", "nowhere.wav"), ("again.wav", "good.wav")):
        (folder / link).symlink_to(to)
    os.mkfifo(folder / "pipe.wav")
    (folder / "memory.wav").symlink_to("/proc/self/mem")  # that no one may read from its beginning


def empty(folder: Path, save: Callable[[str], None]) -> None:
    (folder / "zero_bytes.wav").touch()
    (folder / "zero_bytes.mp3").touch()
    (folder / "page.mp3").write_text("<html>404</html>")
    (folder / "song.m4a").write_bytes(b"\0\0\0\x20ftypM4A \0\0")
    for name, length in (("none", 0), ("one_sample", 1)):
        soundfile.write(folder / f"{name}.wav", np.zeros(length), SAMPLE_RATE)


def formats(folder: Path, save: Callable[[str], None]) -> None:
    sound = melody(0.5, seed=3).waveform[0].numpy()
    for subtype in ("PCM_U8", "PCM_24", "FLOAT", "ULAW", "IMA_ADPCM"):
        soundfile.write(folder / f"{subtype}.wav", sound, SAMPLE_RATE, subtype=subtype)
    soundfile.write(folder / "really.wav", sound, SAMPLE_RATE, format="OGG")
    soundfile.write(folder / "bare", sound, SAMPLE_RATE, format="CAF", subtype="PCM_16")


def captions(folder: Path, save: Callable[[str], None]) -> None:
    for name, raw in {
        "bom": b"\xef\xbb\xbfa calm violin\r\nslow strings\r\n",
        "cp1252": b"a caf\xe9 waltz \x92",
        "utf16": "a calm violin".encode("utf-16"),
        "nul": b"a violin\0 melody",
        "blank": b" \n",
    }.items():
        save(f"{name}.wav")
        (folder / f"{name}.txt").write_bytes(raw)
    (folder / "orphan.txt").write_text("no audio here")
    (folder / "cover.jpg").write_bytes(b"\xff\xd8\xff\xe0")


CASES = (names, stems, hidden, links, empty, formats, captions)


def make_case(folder: Path, case: Callable[..., None]) -> Path:
    """A folder of recordings as people have them, with a good one among them."""
    seeds = count(100 * CASES.index(case))

    def save(name: str) -> None:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = {".flac": "FLAC"}.get(path.suffix, "WAV")
        sound = melody(0.3, seed=next(seeds)).waveform[0].numpy()
        with path.open("wb") as file:
            soundfile.write(file, sound, SAMPLE_RATE, format=kind, subtype="PCM_16")

    save("good.wav")
    case(folder, save)
    return folder


def audio_in(folder: Path) -> set[str]:
    """All that one may take for a recording in a folder, as the report writes it."""
    files = {Path(root) / name for root, folders, names in os.walk(folder) for name in names + folders}
    return {shown(file) for file in files if file.suffix.lower() not in ("", ".txt", ".jpg")} | {
        shown(file) for file in files if file.name == "bare"
    }


@pytest.mark.parametrize("case", CASES)
def test_every_recording_of_a_folder_is_taken_or_named(
    case: Callable[..., None], tmp_path: Path, semantic: Levels
) -> None:
    folder = make_case(tmp_path / case.__name__, case)
    store = run(tmp_path / "tokens", folder)
    taken, left_out = {row.path for row in store}, report(tmp_path / "tokens")
    assert as_text(str(folder / "good.wav")) in taken
    named = {path for path, reason in left_out.items() if not reason.startswith("taken")}
    assert {path.replace("\n", "\\n") for path in taken} | named == audio_in(folder)
    assert not {path.replace("\n", "\\n") for path in taken} & named
    if case in (names, stems, formats, captions):
        assert not named
    if case is captions:
        said = {row.id: row.captions for row in store}
        assert said["bom"] == ["a calm violin", "slow strings"]
        assert (said["cp1252"], said["utf16"]) == (["a café waltz \u2019"], ["a calm violin"])


def test_all_folders_together_are_tokenized_in_one_run(
    tmp_path: Path, semantic: Levels, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [make_case(tmp_path / "cases" / case.__name__, case) for case in CASES]
    for places in ([tmp_path / "cases"], folders):
        out = tmp_path / f"tokens{len(places)}"
        store = run(out, *places)
        assert len(store.ids()) == len(set(store.ids())) == 32
        assert (
            capsys.readouterr().err.splitlines()[-1] == f"32 recordings, 13 left out: see {out}/left_out.tsv"
        )
    assert [row.semantic.tolist() for row in store if row.id == "names/good.wav"]  # told from the others


def test_one_that_fails_while_it_is_tokenized_is_left_out_and_tried_again(
    tmp_path: Path, semantic: Levels, capsys: pytest.CaptureFixture[str]
) -> None:
    music, out = folder_of_tones(tmp_path / "music", 3, seconds=0.4), tmp_path / "tokens"
    semantic.refuses = 2
    assert run(out, music).ids() == ["tone00", "tone02"]
    assert report(out) == {
        str(music / "tone01.wav"): "RuntimeError: kernel size can't be greater than actual input size"
    }
    assert capsys.readouterr().err.splitlines()[-1] == f"2 recordings, 1 left out: see {out}/left_out.tsv"
    assert run(out, music).ids() == ["tone00", "tone01", "tone02"]
    assert (semantic.calls, report(out)) == (4, {})


def test_no_store_holds_what_is_no_number(
    tmp_path: Path, semantic: Levels, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizers = Tokenizers.load(None)  # type: ignore[arg-type]
    broken = [
        replace(maker, make=lambda waveform: torch.full((1, 4), torch.nan))
        if maker.stream.name == "mulan"
        else maker
        for maker in tokenizers.makers
    ]
    monkeypatch.setattr(tokenizers, "makers", broken)
    line = fails(capsys, tmp_path / "tokens", folder_of_tones(tmp_path / "music", 2, seconds=0.4))
    assert "none can be used" in line
    assert "MuLan makes embeddings of it that are not finite" in line


def test_strict_exits_with_2_before_the_work_where_a_fault_is_known_by_then(
    tmp_path: Path, semantic: Levels, capsys: pytest.CaptureFixture[str]
) -> None:
    music, out = folder_of_tones(tmp_path / "music", 2, seconds=0.4), tmp_path / "tokens"
    assert len(run(out, music, "--strict")) == 2
    (music / "words.wav").write_text("no audio")
    (music / "nothing.wav").touch()
    assert fails(capsys, out, music, "--strict").endswith(f"2 are left out: see {out}/left_out.tsv")
    assert semantic.calls == 2
    assert set(report(out)) == {str(music / "words.wav"), str(music / "nothing.wav")}


def test_strict_exits_with_2_after_the_work_where_a_fault_is_found_in_it(
    tmp_path: Path, semantic: Levels, capsys: pytest.CaptureFixture[str]
) -> None:
    music, out = folder_of_tones(tmp_path / "music", 3, seconds=0.4), tmp_path / "tokens"
    semantic.refuses = 2
    assert "1 are left out" in fails(capsys, out, music, "--strict")
    assert TokenStore(out).ids() == ["tone00", "tone02"]  # whole all the same


def test_a_folder_in_which_nothing_is_usable_is_one_line_with_the_reasons(
    tmp_path: Path, semantic: Levels, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "music").mkdir()
    assert "found none" in fails(capsys, tmp_path / "tokens", tmp_path / "music")
    assert not (tmp_path / "tokens").exists()
    (tmp_path / "music" / "words.wav").write_text("no audio")
    (tmp_path / "music" / "nothing.wav").touch()
    line = fails(capsys, tmp_path / "tokens", tmp_path / "music")
    assert "none can be used" in line
    assert "(and 1 more)" in line
    assert len(report(tmp_path / "tokens")) == 2
