"""The token store: rows come back, shards are whole, tokens of other tokenizers are refused."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from musiclm.bundle import save_part
from musiclm.data.store import (
    QUANTIZER,
    StoreDescription,
    TokenRow,
    TokenStore,
    read_codebooks,
    read_description,
    shard_path,
    write_codebooks,
    write_description,
    write_shard,
)
from musiclm.data.token_crops import TokenCrops, crop_embedding
from musiclm.tokenizers.rvq import ResidualQuantizer

CODEBOOKS = {"acoustic": torch.randn(3, 8, 6), "semantic": torch.randn(1, 16, 5)}
DESCRIPTION = StoreDescription(
    semantic_frame_rate=25.0,
    semantic_codebook_size=16,
    acoustic_frame_rate=50.0,
    acoustic_codebook_size=8,
    num_quantizers=3,
    mulan_dimension=4,
    mulan_window_seconds=10.0,
    mulan_stride_seconds=1.0,
    fingerprints={"soundstream": "0123"},
)


def _row(index: int, *, seconds: float = 14.0, split: str = "train") -> TokenRow:
    random = np.random.default_rng(index)
    tokens = round(seconds * 25)
    return TokenRow(
        id=f"piece{index}",
        path=f"audio/piece{index}.flac",
        seconds=seconds,
        licence="CC0-1.0",
        split=split,
        captions=["a tune", "ein Stück"],
        semantic=random.integers(0, 16, tokens).astype(np.uint16),
        acoustic=random.integers(0, 8, (3, 2 * tokens)).astype(np.uint16),
        mulan=random.normal(size=(max(int(seconds - 10), 0) + 1, 4)).astype(np.float16),
    )


def _store(folder: Path) -> list[TokenRow]:
    rows = [_row(index, split="valid" if index == 3 else "train") for index in range(5)]
    write_description(folder, DESCRIPTION)
    write_shard(shard_path(folder, 0), rows[:2])
    write_shard(shard_path(folder, 1), rows[2:])
    write_codebooks(folder, CODEBOOKS)
    words = {"dimension": 4, "num_quantizers": 2, "codebook_size": 8}
    quantizer = ResidualQuantizer(**words)
    quantizer.codebooks.normal_()
    class_path = "musiclm.tokenizers.rvq.ResidualQuantizer"
    save_part(
        folder / QUANTIZER, QUANTIZER, quantizer, class_path=class_path, init_args=words, storage="float32"
    )
    return rows


def test_rows_come_back_as_they_went_in(tmp_path: Path) -> None:
    rows = _store(tmp_path)
    store = TokenStore(tmp_path)
    assert len(store) == 5
    for before, after in zip(rows, store, strict=True):
        assert (before.id, before.captions, before.split) == (after.id, after.captions, after.split)
        for name in ("semantic", "acoustic", "mulan"):
            np.testing.assert_array_equal(getattr(before, name), getattr(after, name))


def test_writing_leaves_whole_shards_and_nothing_else(tmp_path: Path) -> None:
    _store(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "codebooks.safetensors",
        "mulan_rvq",
        "store.yaml",
        "tokens-00000.arrow",
        "tokens-00001.arrow",
    ]


def test_codebooks_come_back_as_they_went_in_and_are_missed_where_there_are_none(tmp_path: Path) -> None:
    _store(tmp_path)
    for name, entries in read_codebooks(tmp_path).items():
        assert torch.equal(entries, CODEBOOKS[name].half())
    (tmp_path / "codebooks.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match="codebooks in"):
        read_codebooks(tmp_path)
    (tmp_path / "codebooks.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="tokenize` again"):
        read_codebooks(tmp_path)


def test_tokens_of_other_tokenizers_do_not_mix(tmp_path: Path) -> None:
    write_description(tmp_path, DESCRIPTION)
    write_description(tmp_path, DESCRIPTION)
    with pytest.raises(ValueError, match="made by the same tokenizers"):
        write_description(tmp_path, replace(DESCRIPTION, fingerprints={"soundstream": "4567"}))
    assert read_description(tmp_path) == DESCRIPTION


def test_a_folder_that_is_no_store_or_a_broken_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a token store"):
        TokenStore(tmp_path)
    write_description(tmp_path, DESCRIPTION)
    with pytest.raises(FileNotFoundError, match="expected shards"):
        TokenStore(tmp_path)
    shard_path(tmp_path, 0).write_bytes(b"ARROW1 and then nothing")
    with pytest.raises(ValueError, match="whole shards"):
        TokenStore(tmp_path)
    (tmp_path / "store.yaml").write_text("colour: blue")
    with pytest.raises(ValueError, match="description of tokens"):
        TokenStore(tmp_path)


def test_a_batch_of_token_crops_shows_one_stretch_of_music(tmp_path: Path) -> None:
    rows = {row.semantic.tobytes(): row for row in _store(tmp_path)}
    crops = TokenCrops(tmp_path, 2.0, batch_size=4, crops_per_epoch=8)
    batch = crops.on_after_batch_transfer(next(iter(crops.train_dataloader())), 0)
    assert batch["mulan"].shape == (4, 2, 1)
    assert batch["semantic"].shape == (4, 1, 50)
    assert batch["acoustic"].shape == (4, 3, 100)
    for semantic, acoustic in zip(batch["semantic"], batch["acoustic"], strict=True):
        wanted = semantic[0].numpy().astype(np.uint16)
        places = [
            (row, start)
            for row in rows.values()
            for start in range(len(row.semantic) - 49)
            if np.array_equal(row.semantic[start : start + 50], wanted)
        ]
        assert len(places) == 1
        row, start = places[0]
        assert row.split == "train"
        np.testing.assert_array_equal(acoustic, row.acoustic[:, 2 * start : 2 * start + 100])


def test_a_crop_is_conditioned_on_the_windows_whose_middle_it_holds(tmp_path: Path) -> None:
    _store(tmp_path)
    row = _row(0)  # windows begin at 0 … 4 s, their middles lie at 5 … 9 s
    description = read_description(tmp_path)
    embedding = crop_embedding(row, description, start=5.5, seconds=4.0)  # 5.5 … 9.5 s: windows 1 … 4
    mean = row.mulan[1:5].astype(np.float32).mean(axis=0)
    np.testing.assert_allclose(embedding, mean / np.linalg.norm(mean), rtol=1e-6)
    first = row.mulan[0].astype(np.float32)
    embedding = crop_embedding(row, description, start=0.0, seconds=4.0)
    np.testing.assert_allclose(embedding, first / np.linalg.norm(first), rtol=1e-6)


def test_noise_turns_an_embedding_by_its_own_length_and_spares_validation(tmp_path: Path) -> None:
    _store(tmp_path)
    plain, noisy = (TokenCrops(tmp_path, 4.0, mulan_noise=noise, crops_per_epoch=64) for noise in (0.0, 1.0))
    before, after = (crops.train_dataloader().dataset for crops in (plain, noisy))
    cosines = torch.stack([before[i]["mulan"] @ after[i]["mulan"] for i in range(64)])
    assert 0.5 < cosines.mean() < 0.9  # 1 / sqrt(1 + noise²) = 0.71
    assert all(torch.equal(before[i]["semantic"], after[i]["semantic"]) for i in range(64))
    held_out = noisy.val_dataloader().dataset
    assert torch.equal(held_out[0]["mulan"], plain.val_dataloader().dataset[0]["mulan"])


def test_crops_longer_than_every_recording_are_refused(tmp_path: Path) -> None:
    _store(tmp_path)
    with pytest.raises(ValueError, match=r"longest is 14\.0 s"):
        TokenCrops(tmp_path, 20.0).train_dataloader()


def test_the_same_seed_draws_the_same_token_crops(tmp_path: Path) -> None:
    _store(tmp_path)
    draws = [
        next(iter(TokenCrops(tmp_path, 1.0, batch_size=8, seed=seed).train_dataloader()))["semantic"]
        for seed in (0, 0, 1)
    ]
    assert torch.equal(draws[0], draws[1])
    assert not torch.equal(draws[0], draws[2])
