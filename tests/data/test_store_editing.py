"""`musiclm tokens`: what a store holds is said and looked at; stores are merged, recordings dropped."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from musiclm.cli import main
from musiclm.data import store_editing
from musiclm.data.store import (
    SourceFile,
    TokenRow,
    TokenStore,
    read_description,
    shard_path,
    write_description,
    write_shard,
)
from tests.tiny import make_token_store


def rewrite(folder: Path, *changes: dict[str, object], shard: int = 0) -> None:
    """Write a shard of a store with its first rows, one for each of the changes."""
    rows = [replace(row, **change) for row, change in zip(TokenStore(folder), changes, strict=False)]
    write_shard(shard_path(folder, shard), [replace(row, streams=dict(row.streams)) for row in rows])


def known_by(hash: str) -> dict[str, object]:
    return {"source": SourceFile(hash, 1, 1)}


def fails(capsys: pytest.CaptureFixture[str], *words: str | Path, code: int = 2) -> str:
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        main(["tokens", *map(os.fspath, words)])
    assert stop.value.code == code
    return capsys.readouterr().err


def test_info_says_what_a_store_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_token_store(tmp_path, (36.0, 36.0, 72.0), melody=True)
    main(["tokens", "info", str(tmp_path)])
    said = capsys.readouterr().out.splitlines()
    assert said[0].startswith("3 recordings, 0.04 h, ")
    assert said[0].endswith(" in 1 shard")
    assert "split train: 2 recordings, 0.02 h" in said
    assert "split valid: 1 recording, 0.02 h" in said
    assert "licence CC0-1.0: 3 recordings, 0.04 h" in said
    assert "captions: 3, of 3 recordings" in said
    assert "acoustic: tokens, 12 × 1,024, 50 times a second, made by codec 0123" in said


def test_a_store_that_is_as_it_must_be_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_token_store(tmp_path, melody=True)
    main(["tokens", "verify", str(tmp_path)])
    assert capsys.readouterr().out == f"all 3 recordings of {tmp_path} are as they must be\n"


def spoiled(row: TokenRow, name: str, values: np.ndarray) -> dict[str, object]:
    return {"streams": row.streams | {name: values}}


def test_every_kind_of_fault_is_named_and_the_exit_code_is_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_token_store(tmp_path, (12.0,) * 6)
    rows = list(TokenStore(tmp_path))
    unknown = np.full_like(rows[0].streams["semantic"], 8)
    infinite = np.full_like(rows[1].streams["mulan"], np.inf)
    rewrite(
        tmp_path,
        spoiled(rows[0], "semantic", unknown),
        spoiled(rows[1], "mulan", infinite),
        spoiled(rows[2], "acoustic", rows[2].streams["acoustic"][:, :60]),
        {"split": "test"},
        {"id": "piece3"} | known_by("aa"),
        {"split": "valid"} | known_by("aa"),
    )
    write_shard(shard_path(tmp_path, 1), [])
    (tmp_path / "tokens-00002.arrow").write_bytes(b"torn")
    (tmp_path / "joint_quantizer" / "model.yaml").unlink()
    said = fails(capsys, "verify", tmp_path, code=1)
    assert "tokens-00001" not in said
    for fault in (
        "piece0: semantic has the code 8, expected 0 to 7",
        "piece1: mulan has values that are not finite",
        "piece2: acoustic has 60 frames of 12.0 s, expected about 600",
        "piece3: a split 'test', expected train or valid",
        "piece5: an identical recording is in the other split",
        "2 recordings are called piece3",
        "tokens-00002.arrow is no whole shard",
        "the quantizer of mulan cannot be loaded: expected a bundle",
    ):
        assert fault in said, fault


def test_stores_are_merged_and_identical_recordings_are_taken_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        make_token_store(folder, held_out=0)
    rewrite(one, known_by("a"), known_by("b") | {"split": "valid"}, known_by("c") | {"split": "valid"})
    rewrite(two, known_by("b"), known_by("c") | {"split": "valid"}, known_by("d"))
    main(["tokens", "merge", str(one), str(two), "--out", str(tmp_path / "both"), "--shard_size", "3"])
    store = TokenStore(tmp_path / "both")
    assert [(row.id, row.source.hash, row.split) for row in store] == [
        ("piece0", "a", "train"),
        ("piece1", "b", "train"),  # trained on in the other store
        ("piece2", "c", "valid"),
        ("two/piece2", "d", "train"),
    ]
    assert len(list((tmp_path / "both").glob("tokens-*.arrow"))) == 2
    np.testing.assert_array_equal(store[3].acoustic, TokenStore(two)[2].acoustic)
    main(["tokens", "verify", str(tmp_path / "both")])
    assert "holds tokens: name another --out" in fails(capsys, "merge", one, two, "--out", tmp_path / "both")
    assert "expected two stores or more" in fails(capsys, "merge", one, "--out", tmp_path / "new")


def test_stores_of_other_tokenizers_are_not_merged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_token_store(tmp_path / "one")
    make_token_store(tmp_path / "two")
    description = read_description(tmp_path / "two")
    (tmp_path / "two" / "store.yaml").unlink()
    write_description(tmp_path / "two", replace(description, fingerprints={"codec": "other"}))
    said = fails(capsys, "merge", tmp_path / "one", tmp_path / "two", "--out", tmp_path / "both")
    assert "expected stores made by the same tokenizers" in said
    assert said.count("\n") == 1


def test_a_merge_that_was_killed_is_no_store_and_is_made_by_the_same_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "two"):
        make_token_store(tmp_path / name)
    words = ["tokens", "merge", str(tmp_path / "one"), str(tmp_path / "two"), "--out", str(tmp_path / "both")]
    write, calls = store_editing.write_shard, []

    def killed(path: Path, rows: list[TokenRow]) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise SystemExit(9)
        write(path, rows)

    with monkeypatch.context() as patched:
        patched.setattr(store_editing, "write_shard", killed)
        with pytest.raises(SystemExit):
            main([*words, "--shard_size", "1"])
    with pytest.raises(FileNotFoundError, match=r"found no store\.yaml"):
        TokenStore(tmp_path / "both")
    main(words)
    assert len(TokenStore(tmp_path / "both")) == 6


def test_recordings_are_dropped_by_what_they_are_called(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_token_store(tmp_path, (12.0,) * 5)
    rows = list(TokenStore(tmp_path))
    write_shard(shard_path(tmp_path, 0), rows[:2])
    write_shard(shard_path(tmp_path, 1), rows[2:])
    main(["tokens", "drop", str(tmp_path), "--ids", "piece0", "--paths", "audio/*1.flac", "*3.flac"])
    assert capsys.readouterr().out == f"3 recordings dropped, 2 left: {tmp_path}\n"
    store = TokenStore(tmp_path)
    assert store.ids() == ["piece2", "piece4"]
    assert not shard_path(tmp_path, 0).exists()
    np.testing.assert_array_equal(store[1].acoustic, rows[4].acoustic)
    for words, said in (
        (["--ids", "nothing*"], "expected recordings whose id fits 'nothing*'"),
        (["--licences", "CC0*"], "expected to keep some recordings"),
        ([], "expected what to drop"),
    ):
        assert said in fails(capsys, "drop", tmp_path, *words)
    assert len(TokenStore(tmp_path)) == 2


@pytest.mark.parametrize("command", ["info", "verify", "drop"])
def test_a_folder_that_is_no_store_is_one_line(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--ids", "a"] if command == "drop" else []
    said = fails(capsys, command, tmp_path, *words)
    assert said.startswith(
        f"musiclm tokens {command}: expected a token store (see `musiclm tokenize`), found no"
    )
    assert said.count("\n") == 1
