"""Planted stores hold what they say, and nothing is half-planted."""

import json
from pathlib import Path

import pytest

from musiclm.audit.canaries import CANARIES, canary_rows, plant, read_canaries
from musiclm.audit.examples import identical_recordings, stretches
from musiclm.data.store import TokenStore
from musiclm.data.token_crops import TokenCrops
from musiclm.files import only_writer
from tests.audit.tiny_audit import make_store, songs
from tests.tiny import make_token_store


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "tokens", songs(12, seconds=15.0), held_out=8)


def test_canaries_move_from_the_held_out_to_the_training_recordings(store: Path, tmp_path: Path) -> None:
    plant(store, tmp_path / "planted", repeats=(1, 3), each=2)
    planted = TokenStore(tmp_path / "planted")
    times = read_canaries(planted.folder)
    assert sorted(times.values()) == [1, 1, 3, 3]
    assert len(planted) == 4 + 4 + 1 + 1 + 3 + 3
    assert planted.splits().count("valid") == 4
    assert not set(times) & set(planted.ids())  # only the copies, which have names of their own
    rows, repeats = canary_rows(list(planted), times)
    assert repeats.tolist() == list(times.values())
    originals = {row.id: row for row in TokenStore(store)}
    for row, id in zip(rows, times, strict=True):
        assert (row.semantic == originals[id].semantic).all()
        assert (row.streams["mulan"] == originals[id].streams["mulan"]).all()


def test_the_audit_counts_planted_copies_as_duplicates(store: Path, tmp_path: Path) -> None:
    plant(store, tmp_path / "planted", repeats=(1, 5), each=1)
    training = [row for row in TokenStore(tmp_path / "planted") if row.split == "train"]
    found = stretches(training, training, length=375, apart=125)
    assert sorted(found.copies) == [1] * 5 + [5]
    assert found.weights.sum() == 10
    assert [len(group) for group in identical_recordings(training)] == [5]


def test_too_few_held_out_recordings_are_one_clear_line(store: Path, tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"expected 32 held-out recordings.*has 8: ask for fewer with --each 2"
    ):
        plant(store, tmp_path / "planted")
    assert not (tmp_path / "planted").exists()


def test_a_store_is_not_written_over(store: Path, tmp_path: Path) -> None:
    plant(store, tmp_path / "planted", repeats=(1,), each=1)
    before = (tmp_path / "planted" / CANARIES).read_text()
    with pytest.raises(ValueError, match="expected a new folder"):
        plant(store, tmp_path / "planted", repeats=(2,), each=1)
    assert (tmp_path / "planted" / CANARIES).read_text() == before
    assert list(json.loads(before).values()) == [1]


def test_a_store_without_canaries_has_none(store: Path) -> None:
    assert read_canaries(store) == {}
    assert canary_rows(list(TokenStore(store)), {})[0] == []


def test_one_process_plants_a_store_at_a_time_and_a_killed_ones_rest_is_gone(
    store: Path, tmp_path: Path
) -> None:
    making = tmp_path / ".planted.making"
    with only_writer(making), pytest.raises(BlockingIOError, match="is at it"):
        plant(store, tmp_path / "planted", repeats=(1,), each=1)
    (making / "store" / "shards").mkdir(parents=True)
    (making / "store" / "rest").touch()
    plant(store, tmp_path / "planted", repeats=(1,), each=1)
    assert not (tmp_path / "planted" / "rest").exists()
    assert not making.exists()


def test_a_planted_store_trains_whatever_its_quantizers_are_called(tmp_path: Path) -> None:
    """Those of melodies go with it, and in a store of version 0.1 both have other names."""
    make_token_store(tmp_path / "tokens", [12.0] * 4, held_out=2, melody=True)
    for new, old in (("joint_quantizer", "mulan_rvq"), ("melody_quantizer", "melody_rvq")):
        (tmp_path / "tokens" / new).rename(tmp_path / "tokens" / old)
    plant(tmp_path / "tokens", tmp_path / "planted", repeats=(1,), each=1)
    streams = TokenCrops(tmp_path / "planted", 2.0).streams
    assert {each.name: each.levels for each in streams} == {
        "semantic": 1,
        "acoustic": 12,
        "mulan": 3,
        "melody": 2,
    }
