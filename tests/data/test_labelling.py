"""`musiclm label`: the nearest sentences, drawn so that rare ones count; tables, text files and stores."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musiclm.cli import main
from musiclm.data.pseudo_labels import draw_labels, entropy, nearest_sentences
from musiclm.data.sources import find_recordings
from musiclm.data.store import TokenStore
from tests.tiny import folder_of_tones, tone
from tests.tiny_model import make_bundle


def on_sphere(*shape: int, seed: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).normal(size=shape)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(1, 12), st.integers(1, 50))
def test_the_nearest_are_those_of_a_full_comparison_however_it_is_cut(
    count: int, k: int, at_once: int
) -> None:
    recordings, vectors = on_sphere(5, 6, seed=1), on_sphere(count, 6, seed=2)
    names = [f"sentence {number}" for number in range(count)]
    place = {name: number for number, name in enumerate(names)}
    found = nearest_sentences(
        recordings, names, lambda texts: vectors[[place[text] for text in texts]], k, at_once=at_once
    )
    cosines = recordings @ vectors.T
    for row, near in zip(cosines, found, strict=True):
        assert len(near) == len(set(near)) == min(k, count)
        np.testing.assert_allclose([row[place[name]] for name in near], np.sort(row)[::-1][:k], atol=1e-6)


def test_a_sentence_that_is_near_to_all_is_drawn_seldom() -> None:
    nearest = [["music", f"only {number}"] for number in range(100)]
    ids = [str(number) for number in range(100)]
    even = Counter(own for (own,) in draw_labels(nearest, ids, 1, balanced=False))
    balanced = draw_labels(nearest, ids, 1)
    assert 35 <= even["music"] <= 65
    assert Counter(own for (own,) in balanced)["music"] <= 5  # one in 101 is expected
    assert entropy(balanced) > entropy(draw_labels(nearest, ids, 1, balanced=False)) + 1
    assert draw_labels(nearest[::-1], ids[::-1], 1) == balanced[::-1]
    assert draw_labels(nearest, ids, 1, seed=1) != balanced
    assert draw_labels([["a"]], ["x"], 3) == [["a"]]


def test_entropy_is_that_of_equal_labels() -> None:
    assert entropy([["a"], ["b"], ["c"], ["d"]]) == pytest.approx(2.0)
    assert entropy([["a", "a"]]) == 0.0


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_bundle(tmp_path_factory.mktemp("tiny")))


@pytest.fixture
def words(tmp_path: Path) -> str:
    (tmp_path / "words.txt").write_text("a calm violin\nfast techno\n\nslow  waltz\nfast techno\na harp\n")
    return str(tmp_path / "words.txt")


SENTENCES = {"a calm violin", "fast techno", "slow waltz", "a harp"}


def test_a_table_of_captions_is_a_source_of_recordings(
    tmp_path: Path, bundle: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    music = folder_of_tones(tmp_path / "music", 3, seconds=1.0)
    for file in music.glob("*.txt"):
        file.unlink()
    (music / "broken.wav").write_text("no audio")
    table = music / "labels.jsonl"
    asked = ["label", str(music), "--vocabulary", words, "--bundle", bundle, "--out", str(table)]
    main([*asked, "--k", "3", "--draw", "2"])
    said = capsys.readouterr()
    assert "of 4 sentences used" in said.out
    assert "3 recordings, 1 left out" in said.err
    recordings = find_recordings(table)
    assert len(recordings) == 3
    assert all(len(each.captions) == 2 and set(each.captions) <= SENTENCES for each in recordings)
    before = table.read_bytes()
    main([*asked, "--k", "3", "--draw", "2"])
    assert table.read_bytes() == before


def test_captions_beside_recordings_leave_those_that_are_there(
    tmp_path: Path, bundle: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "music").mkdir()
    for number, name in enumerate(("own", "none")):
        tone(1.0, pitch=300.0 + 50 * number).save(tmp_path / "music" / f"{name}.wav")
    (tmp_path / "music" / "own.txt").write_text("my own words")
    asked = ["label", str(tmp_path / "music"), "--vocabulary", words, "--bundle", bundle, "--beside", "true"]
    main([*asked, "--k", "2", "--draw", "1"])
    assert (tmp_path / "music" / "own.txt").read_text() == "my own words"
    assert (tmp_path / "music" / "none.txt").read_text().strip() in SENTENCES
    main(asked)
    assert "every recording has captions" in capsys.readouterr().out
    main([*asked, "--overwrite", "true", "--k", "2", "--draw", "1"])
    assert (tmp_path / "music" / "own.txt").read_text().strip() in SENTENCES


def test_a_store_gets_captions_in_its_rows_by_the_embeddings_that_it_has(
    tmp_path: Path, bundle: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    music = folder_of_tones(tmp_path / "music", 3, seconds=1.0)
    for file in (music / "tone00.txt", music / "tone02.txt"):
        file.unlink()
    store = str(tmp_path / "tokens")
    main(["tokenize", str(music), "--out", store, "--bundle", bundle, "--workers", "1"])
    before = list(TokenStore(store))
    main(["label", store, "--vocabulary", words, "--bundle", bundle, "--k", "4", "--draw", "2"])
    after = list(TokenStore(store))
    assert after[1].captions == before[1].captions != []
    for old, new in ((before[0], after[0]), (before[2], after[2])):
        assert old.captions == []
        assert set(new.captions) <= SENTENCES
        assert len(new.captions) == 2
        np.testing.assert_array_equal(old.acoustic, new.acoustic)
    with pytest.raises(SystemExit):
        main(["label", store, "--vocabulary", words, "--overwrite", "true"])  # the default bundle
    assert "expected the bundle whose joint_embedding made the store" in capsys.readouterr().err


def test_the_corpus_s_own_sentences_are_a_vocabulary(
    tmp_path: Path, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musiclm.data.labelling.COMPOSED", 5)
    (tmp_path / "music").mkdir()
    tone(1.0).save(tmp_path / "music" / "a.wav")
    out = tmp_path / "labels.jsonl"
    main(["label", str(tmp_path / "music"), "--bundle", bundle, "--out", str(out)])
    (row,) = map(json.loads, out.read_text().splitlines())
    assert len(row["captions"]) == 3


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--vocabulary", "gone.txt"], "there is no gone.txt"),
        (["--vocabulary", "empty.txt"], "expected sentences in empty.txt"),
        (["--draw", "11"], "expected a draw of 1 to k, got 11 of 10"),
    ],
)
def test_a_mistake_is_one_line(
    more: list[str],
    said: str,
    tmp_path: Path,
    bundle: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("\n \n")
    tone(1.0).save(tmp_path / "a.wav")
    with pytest.raises(SystemExit) as stop:
        main(["label", "a.wav", "--bundle", bundle, *more])
    assert stop.value.code == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1
