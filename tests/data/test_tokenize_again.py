"""`musiclm tokenize` into a store that is there: nothing is stale, nothing is lost, nothing is made twice."""

import os
from pathlib import Path
from typing import Any

import pytest

import musiclm.data.tokenize
from musiclm.data.sources import content_hash, split_of
from musiclm.data.store import TokenStore, shard_path
from musiclm.files import only_writer
from tests.data.old_store import without_sources
from tests.data.tokenizing import Levels, fails, report, run
from tests.tiny import folder_of_tones, melody, tone


def test_tokens_of_other_recordings_of_the_same_names_are_not_kept(tmp_path: Path, semantic: Levels) -> None:
    for number, album in enumerate(("A", "B")):
        for track in range(2):
            (tmp_path / album).mkdir(exist_ok=True)
            melody(0.5, seed=10 * number + track).save(tmp_path / album / f"track{track}.wav")
    first = [row.semantic.tolist() for row in run(tmp_path / "tokens", tmp_path / "A")]
    store = run(tmp_path / "tokens", tmp_path / "B")
    assert store.ids() == ["track0", "track1"]
    assert [row.source.hash for row in store] == [
        content_hash(tmp_path / "B" / f"track{track}.wav") for track in range(2)
    ]
    assert [row.semantic.tolist() for row in store] != first


def test_a_recording_is_tokenized_once_wherever_it_goes_and_whatever_is_said_of_it(
    tmp_path: Path, semantic: Levels
) -> None:
    music = folder_of_tones(tmp_path / "music", 3, seconds=0.4)
    before = {row.id: row.semantic.tolist() for row in run(tmp_path / "tokens", music)}
    assert semantic.calls == 3
    shard = shard_path(tmp_path / "tokens", 0)
    made = shard.stat().st_mtime_ns
    run(tmp_path / "tokens", music)
    assert (semantic.calls, shard.stat().st_mtime_ns) == (3, made)  # nothing to do

    music = music.rename(tmp_path / "moved")
    (music / "tone01.txt").write_text("other words")
    tone(0.4, pitch=100.0).save(music / "a new one.wav")
    store = run(tmp_path / "tokens", music, "--shard_size", "2")
    assert semantic.calls == 4
    assert store.ids() == ["a new one", *before]
    assert {row.id: row.semantic.tolist() for row in store if row.id in before} == before
    assert store[2].captions == ["other words"]
    assert all(Path(row.path).parent == music for row in store)

    tone(0.4, pitch=150.0).save(music / "tone00.wav")  # other content under the same name
    assert run(tmp_path / "tokens", music)[1].source.hash == content_hash(music / "tone00.wav")
    assert semantic.calls == 5
    assert not shard_path(tmp_path / "tokens", 1).exists()


def test_a_store_without_hashes_loads_and_is_made_again(tmp_path: Path, semantic: Levels) -> None:
    music = folder_of_tones(tmp_path / "music", 2, seconds=0.4)
    rows = [row.semantic.tolist() for row in run(tmp_path / "tokens", music)]
    without_sources(shard_path(tmp_path / "tokens", 0))
    old = TokenStore(tmp_path / "tokens")
    assert [row.semantic.tolist() for row in old] == rows
    assert old[0].source.hash == ""
    assert all(row.source.hash for row in run(tmp_path / "tokens", music))
    assert semantic.calls == 4


def test_identical_recordings_are_on_one_side_and_reported(tmp_path: Path, semantic: Levels) -> None:
    held_out = next(name for name in map(str, range(100)) if split_of(name) == "valid")
    music = folder_of_tones(tmp_path / "music", 1, seconds=0.4)
    (music / f"{held_out}.wav").write_bytes((music / "tone00.wav").read_bytes())
    store = run(tmp_path / "tokens", music)
    assert set(store.splits()) == {"train"}
    assert report(tmp_path / "tokens") == {
        str(music / "tone00.wav"): f"taken, but identical to {music / held_out}.wav"
    }


def test_the_second_of_two_at_one_store_is_told_of_the_first(
    tmp_path: Path, semantic: Levels, capsys: pytest.CaptureFixture[str]
) -> None:
    music, out = folder_of_tones(tmp_path / "music", 1, seconds=0.4), tmp_path / "tokens"
    with only_writer(out):
        line = fails(capsys, out, music)
    assert f"process {os.getpid()} on" in line
    assert list(out.iterdir()) == []


def test_a_store_is_refused_until_tokenize_has_come_to_its_end(
    tmp_path: Path, semantic: Levels, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    music, out = folder_of_tones(tmp_path / "music", 3, seconds=0.4), tmp_path / "tokens"

    def full_disk(path: Path, rows: Any, write: Any = musiclm.data.tokenize.write_shard) -> None:
        if path == shard_path(out, 2):
            raise OSError(28, "No space left on device")
        write(path, rows)

    with monkeypatch.context() as patch:
        patch.setattr(musiclm.data.tokenize, "write_shard", full_disk)
        assert "No space left" in fails(capsys, out, music, "--shard_size", "1")
    with pytest.raises(ValueError, match="run it again, it goes on where it was"):
        TokenStore(out)
    assert len(run(out, music, "--shard_size", "1")) == 3
    assert semantic.calls == 4  # one of them for the shard that was not written
