"""Stores of any size: what decides which rows are used is read as columns, and a row when it is used."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import musiclm.data.store as store_module
from musiclm.data.store import TokenStore, row_of
from musiclm.data.store_rows import StoreRows
from musiclm.data.token_crops import TokenCropDataset, TokenCrops, places
from tests.tiny import make_token_store

LENGTHS = (12.0, 3.0, 1.0, 20.0, 12.0)


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    make_token_store(tmp_path, LENGTHS, melody=True)
    return TokenStore(tmp_path)


def test_rows_of_a_split_are_those_rows(store: TokenStore) -> None:
    training = StoreRows.of_split(store, "train")
    assert [row.id for row in training] == ["piece0", "piece1", "piece2", "piece3"]
    assert [row.id for row in training[1:3]] == ["piece1", "piece2"]
    assert [row.id for row in training.where(training.seconds() > 10)] == ["piece0", "piece3"]
    assert [row.id for row in StoreRows.of_split(store, "valid")] == ["piece4"]
    assert len(StoreRows.of_split(store, "test")) == 0


def test_columns_say_what_the_rows_do(store: TokenStore) -> None:
    rows = StoreRows(store, np.array([3, 0, 2]))
    assert rows.seconds().tolist() == [row.seconds for row in rows] == [20.0, 12.0, 1.0]
    for stream in store.description.streams:
        shapes = [row.streams[stream.name].shape for row in rows]
        assert rows.frames(stream).tolist() == [
            shape[0 if stream.kind == "embeddings" else 1] for shape in shapes
        ]


def test_a_crop_reads_its_own_row_and_opening_reads_none(
    store: TokenStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []

    def counted(table: object, index: int, description: object) -> object:
        read.append(index)
        return row_of(table, index, description)  # type: ignore[arg-type]

    monkeypatch.setattr(store_module, "row_of", counted)
    crops = TokenCrops(store.folder, 2.0, batch_size=1)
    data = crops.train_dataloader().dataset
    assert crops.unmeasured() is None
    assert read == []
    assert data[0]["semantic"].shape == (1, 50)
    assert len(read) == 1


def test_a_recording_is_drawn_as_often_as_it_is_long_and_never_where_a_crop_has_no_room(
    store: TokenStore,
) -> None:
    data = TokenCropDataset(StoreRows.of_split(store, "train"), 2.0, seed=0)
    assert (places(StoreRows.of_split(store, "train"), 2.0) > 0).tolist() == [True, True, False, True]
    count = 400
    drawn: Counter[str] = Counter()
    for index in range(count):
        crop = data[index]["semantic"].numpy()
        drawn.update(
            row.id
            for row in data.rows
            if (np.lib.stride_tricks.sliding_window_view(row.semantic, 50) == crop).all(axis=1).any()
        )
    assert sum(drawn.values()) == count
    for row in data.rows:
        share = row.seconds / (12 + 3 + 20)
        assert abs(drawn[row.id] / count - share) < 4 * (share * (1 - share) / count) ** 0.5
