"""The nearest stretch of a store is found, and is the nearest; what is kept on disk is the same."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import musiclm.audit.search
from musiclm.audit.nearness import null_costs
from musiclm.audit.search import STRIDE, WINDOW, WindowSearch, window_means
from musiclm.audit.sinkhorn import histograms, transport_costs
from musiclm.data.store import TokenStore
from tests.audit.tiny_audit import make_store, songs
from tests.tiny import make_token_store

long_songs = partial(songs, seconds=15.0)  # 375 tokens: 11 windows, of which three do not overlap


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> TokenStore:
    torch.manual_seed(0)  # of the codebooks: a module's fixture comes before the seed of a test
    return TokenStore(make_store(tmp_path_factory.mktemp("search") / "tokens", long_songs(12), held_out=3))


def brute_force(search: WindowSearch, tokens: Tensor) -> np.ndarray:
    every = search.tokens(np.arange(len(search)))
    return np.array(
        [
            transport_costs(
                histograms(row.expand(len(every), -1)),
                histograms(every),
                search.distances,
                regularization=search.regularization,
            )
            .min()
            .item()
            for row in tokens
        ]
    )


def test_a_list_of_all_windows_gives_what_all_comparisons_give(store: TokenStore) -> None:
    search = WindowSearch.build(store)
    queries = torch.from_numpy(np.stack(long_songs(6, seed=5))[:, :WINDOW].astype(np.int64))
    nearest = brute_force(search, queries)
    np.testing.assert_allclose(search.nearest(queries, among=len(search)).costs, nearest, rtol=1e-3)
    assert (search.nearest(queries, among=4).costs >= nearest * (1 - 1e-3)).all()


def test_transport_costs_no_less_than_the_distance_of_the_means(store: TokenStore) -> None:
    search = WindowSearch.build(store)
    every = search.tokens(np.arange(len(search)))
    queries = torch.from_numpy(np.stack(long_songs(1, seed=5))[:, :WINDOW].astype(np.int64)).expand(
        len(every), -1
    )
    costs = transport_costs(
        histograms(queries), histograms(every), search.distances, regularization=search.regularization
    )
    projected = search.centroids @ search.directions
    apart = (projected[queries].mean(dim=1) - projected[every].mean(dim=1)).norm(dim=1)
    assert (apart <= costs * (1 + 1e-3)).all()
    assert apart.max() > 0.1 * costs.max()


def test_a_copy_is_found_where_it_was_taken_from(store: TokenStore) -> None:
    search = WindowSearch.build(store)
    taken = torch.from_numpy(store.semantic(4)[3 * STRIDE : 3 * STRIDE + WINDOW].astype(np.int64))[None]
    found = search.nearest(taken)
    assert found.costs[0] < 0.05 * search.distances.mean()
    assert search.place(int(found.windows[0])) == ("piece4", 3.0)
    elsewhere = search.nearest(taken, not_of=[4])
    assert search.recordings[elsewhere.windows[0]] != 4
    assert elsewhere.costs[0] > found.costs[0]


def test_held_out_recordings_are_not_searched(store: TokenStore) -> None:
    search = WindowSearch.build(store)
    assert set(search.recordings) == set(range(9))
    assert len(search) == 9 * ((375 - WINDOW) // STRIDE + 1)


def test_unrelated_music_is_that_of_held_out_recordings_or_of_the_others(
    store: TokenStore, tmp_path: Path
) -> None:
    null = null_costs(WindowSearch.build(store))
    assert null.source == "held-out recordings"
    assert len(null.costs) == 3 * 3
    alone = TokenStore(make_store(tmp_path / "tokens", long_songs(6), held_out=0))
    null = null_costs(WindowSearch.build(alone))
    assert null.source.startswith("training recordings")
    assert null.costs.min() > 0.01  # none was compared with itself


def test_copies_among_the_held_out_are_not_unrelated(tmp_path: Path) -> None:
    music = long_songs(10)
    leaked = TokenStore(make_store(tmp_path / "leaked", [*music, music[0], music[1]], held_out=4))
    assert len(null_costs(WindowSearch.build(leaked)).costs) == 2 * 3
    copied = TokenStore(make_store(tmp_path / "copied", [*music[:4], *music[:3]], held_out=0))
    null = null_costs(WindowSearch.build(copied))
    assert len(null.costs) == 3  # those of the one recording that stands there once


def test_a_single_recording_has_nothing_unrelated(tmp_path: Path) -> None:
    alone = TokenStore(make_store(tmp_path / "alone", long_songs(1), held_out=0))
    with pytest.raises(ValueError, match="expected unrelated recordings"):
        null_costs(WindowSearch.build(alone))


@pytest.mark.parametrize("kind", ["flat", "inverted"])
def test_what_is_kept_finds_the_same(
    store: TokenStore, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kind == "inverted":
        monkeypatch.setattr(musiclm.audit.search, "FLAT_UP_TO", 10)
        monkeypatch.setattr(musiclm.audit.search, "PROBED", 100)
    shutil.copytree(store.folder, tmp_path / "tokens")
    copied = TokenStore(tmp_path / "tokens")
    queries = torch.from_numpy(np.stack(long_songs(4, seed=7))[:, :WINDOW].astype(np.int64))
    made, opened = WindowSearch.open(copied), WindowSearch.open(copied)
    for search in (made, opened):
        found = search.nearest(queries, among=len(search))
        np.testing.assert_allclose(found.costs, brute_force(search, queries), rtol=1e-3)


def test_an_index_of_other_music_is_made_again(tmp_path: Path) -> None:
    folder = make_store(tmp_path / "tokens", long_songs(3), held_out=0)
    WindowSearch.open(TokenStore(folder))
    shutil.rmtree(folder / "joint_quantizer")
    for file in folder.glob("*.*"):
        file.unlink()
    others = long_songs(3, seed=1)  # of the same sizes
    search = WindowSearch.open(TokenStore(make_store(folder, others, held_out=0)))
    taken = torch.from_numpy(others[1][:WINDOW].astype(np.int64))[None]
    assert search.nearest(taken).costs[0] < 0.05 * search.distances.mean()


def test_a_damaged_index_is_one_clear_line(tmp_path: Path) -> None:
    store = TokenStore(make_store(tmp_path / "tokens", long_songs(3), held_out=0))
    folder = WindowSearch.open(store).folder
    for name in ("means.faiss", "starts.npy"):
        content = (folder / name).read_bytes()
        (folder / name).write_bytes(content[:20])
        with pytest.raises(ValueError, match="it is damaged"):
            WindowSearch.open(store)
        (folder / name).write_bytes(content)
    WindowSearch.open(store)


def test_means_are_those_of_the_windows() -> None:
    random = np.random.default_rng(0)
    tokens, projected = random.integers(0, 8, 200), random.normal(size=(8, 3)).astype(np.float32)
    expected = [projected[tokens[start : start + WINDOW]].mean(axis=0) for start in range(0, 76, STRIDE)]
    np.testing.assert_allclose(window_means(tokens, projected), expected, rtol=1e-4, atol=1e-6)
    assert window_means(tokens[: WINDOW - 1], projected).shape == (0, 3)


def test_a_store_of_short_recordings_is_one_clear_line(tmp_path: Path) -> None:
    make_token_store(tmp_path / "tokens", [4.0, 4.0])
    with pytest.raises(ValueError, match="expected recordings of at least 5 s"):
        WindowSearch.build(TokenStore(tmp_path / "tokens"))
