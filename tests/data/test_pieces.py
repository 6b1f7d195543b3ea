"""A file of any length takes the memory of a piece, and its pieces together are its music."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musiclm.audio import Audio
from musiclm.data import pieces
from musiclm.data.pieces import LONGEST, PIECE, in_pieces
from musiclm.data.sources import Recording, find_recordings
from musiclm.data.store import TokenStore
from musiclm.data.store_editing import merge
from musiclm.data.tokenize import Tokenizers
from musiclm.score.codes import STREAMS, codes_of
from musiclm.score.labels import score_of_labels
from tests.data.tokenizing import LABELS, Levels, labelled, run
from tests.tiny import tone


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces of two seconds, of what is longer than four."""
    monkeypatch.setattr(pieces, "LONGEST", 4.0)
    monkeypatch.setattr(pieces, "PIECE", 2.0)


@given(st.floats(1.0, 500_000.0))
@settings(deadline=None)
def test_pieces_follow_each_other_and_none_is_longer_than_it_may_be(seconds: float) -> None:
    whole = Recording("mix", Path("mix.wav"), seconds, "unknown", "train", ("a mix",))
    parts = in_pieces([whole])
    if seconds <= LONGEST:
        assert parts == [whole]
        return
    assert all(part == replace(whole, id=part.id, start=part.start, seconds=part.seconds) for part in parts)
    starts = [part.start or 0.0 for part in parts]
    assert starts[0] == 0
    assert starts[1:] == [start + part.seconds for start, part in zip(starts, parts, strict=True)][:-1]
    assert starts[-1] + parts[-1].seconds == pytest.approx(seconds)
    assert max(part.seconds for part in parts) <= PIECE + 1
    assert len({part.id for part in parts}) == len(parts)


@pytest.mark.usefixtures("short")
def test_pieces_of_a_recording_have_its_tokens(tmp_path: Path, semantic: Levels) -> None:
    (tmp_path / "music").mkdir()
    sound = tone(6.0, pitch=220.0)
    sound.save(tmp_path / "music" / "mix.wav")
    store = run(tmp_path / "tokens", tmp_path / "music")
    assert store.ids() == ["mix@0", "mix@2", "mix@4"]
    assert [row.seconds for row in store] == [2.0, 2.0, 2.0]
    (only,) = find_recordings(tmp_path / "music")
    whole = Tokenizers.load(None).tokenize(only)  # type: ignore[arg-type]
    for name in ("semantic", "acoustic"):
        together = np.concatenate([row.streams[name] for row in store], axis=1)
        assert np.array_equal(together, whole.streams[name])
    assert len({row.split for row in store}) == 1


@pytest.mark.usefixtures("short")
def test_no_more_than_a_piece_is_read_at_once(
    tmp_path: Path, semantic: Levels, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "music").mkdir()
    tone(7.0).save(tmp_path / "music" / "mix.wav")
    load, lengths = Audio.load_mono, []

    def measured(*arguments: object, **named: object) -> Audio:
        audio = load(*arguments, **named)  # type: ignore[arg-type]
        lengths.append(audio.seconds)
        return audio

    monkeypatch.setattr(Audio, "load_mono", measured)
    run(tmp_path / "tokens", tmp_path / "music")
    assert lengths == [2.0, 2.0, 1.0, 2.0]


@pytest.mark.usefixtures("short")
def test_pieces_are_known_again_and_are_not_each_other(tmp_path: Path, semantic: Levels) -> None:
    """All have the hash of one file, with a place in it."""
    (tmp_path / "music").mkdir()
    tone(6.0).save(tmp_path / "music" / "mix.wav")
    before = list(run(tmp_path / "tokens", tmp_path / "music"))
    assert len({row.source.hash for row in before}) == 3
    calls = semantic.calls
    (tmp_path / "music").rename(tmp_path / "elsewhere")
    after = list(run(tmp_path / "tokens", tmp_path / "elsewhere"))
    assert semantic.calls == calls
    assert [row.semantic.tolist() for row in after] == [row.semantic.tolist() for row in before]
    assert [Path(row.path).parent.name for row in after] == ["elsewhere"] * 3
    merge([tmp_path / "tokens", tmp_path / "tokens"], tmp_path / "both")
    assert TokenStore(tmp_path / "both").ids() == ["mix@0", "mix@2", "mix@4"]


@pytest.mark.usefixtures("short")
def test_a_piece_has_its_part_of_the_score(tmp_path: Path, scored: Levels) -> None:
    music = labelled(tmp_path / "music", LABELS)
    tone(6.0).save(music / "0.wav")
    whole = codes_of(score_of_labels(LABELS, 6.0))
    store = run(tmp_path / "tokens", music)
    assert len(store) == 3
    for number, row in enumerate(store):
        for name in (stream.name for stream in STREAMS):
            expected = whole[name][:, 50 * number : 50 * (number + 1)]
            assert row.streams[name].astype(np.int64).tolist() == expected.tolist()
