"""The token store: rows come back, shards are whole, tokens of other tokenizers are refused."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow
import pytest
import torch

from musiclm.bundle import Bundle
from musiclm.data.cutting import crop_embedding
from musiclm.data.store import (
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
from musiclm.data.token_crops import TokenCrops
from musiclm.stages.streams import MADE_BY, Stream
from tests.tiny import make_token_store, save_quantizer, streams_of

CODEBOOKS = {"acoustic": torch.randn(3, 8, 6), "semantic": torch.randn(1, 16, 5)}
FINGERPRINTS = {"codec": "0123"}
DESCRIPTION = StoreDescription(streams_of(semantic=16, acoustic=(3, 8), mulan=4), FINGERPRINTS)
WITH_MELODY = StoreDescription(streams_of(semantic=16, acoustic=(3, 8), mulan=4, melody=6), FINGERPRINTS)


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
        streams={
            "semantic": random.integers(0, 16, (1, tokens)).astype(np.uint16),
            "acoustic": random.integers(0, 8, (3, 2 * tokens)).astype(np.uint16),
            "mulan": random.normal(size=(max(int(seconds - 10), 0) + 1, 4)).astype(np.float16),
        },
    )


def _with_melody(row: TokenRow) -> TokenRow:
    melody = np.random.default_rng(len(row.id)).normal(size=(math.ceil(row.seconds), 6))
    melody /= np.linalg.norm(melody, axis=1, keepdims=True)
    return replace(row, streams=row.streams | {"melody": melody.astype(np.float16)})


def _store(folder: Path, description: StoreDescription = DESCRIPTION) -> list[TokenRow]:
    rows = [_row(index, split="valid" if index == 3 else "train") for index in range(5)]
    if description is WITH_MELODY:
        rows = [_with_melody(row) for row in rows]
        save_quantizer(folder, "melody_quantizer", dimension=6, num_quantizers=3)
    write_description(folder, description)
    write_shard(shard_path(folder, 0), rows[:2])
    write_shard(shard_path(folder, 1), rows[2:])
    write_codebooks(folder, CODEBOOKS)
    save_quantizer(folder, "joint_quantizer", dimension=4, num_quantizers=2)
    return rows


@pytest.mark.parametrize("description", [DESCRIPTION, WITH_MELODY], ids=["plain", "melody"])
def test_rows_come_back_as_they_went_in(tmp_path: Path, description: StoreDescription) -> None:
    rows = _store(tmp_path, description)
    store = TokenStore(tmp_path)
    assert store.description == description
    assert len(store) == 5
    for before, after in zip(rows, store, strict=True):
        assert (before.id, before.captions, before.split) == (after.id, after.captions, after.split)
        assert before.streams.keys() == after.streams.keys()
        for name, values in before.streams.items():
            np.testing.assert_array_equal(values, after.streams[name])
            assert values.dtype == after.streams[name].dtype


OLD_WORDS = """
semantic_frame_rate: 25.0
semantic_codebook_size: 16
acoustic_frame_rate: 50.0
acoustic_codebook_size: 8
num_quantizers: 3
mulan_dimension: 4
mulan_window_seconds: 10.0
mulan_stride_seconds: 1.0
fingerprints: {soundstream: '0123'}
"""
OLD_MELODY = """
melody_dimension: 6
melody_window_seconds: 4.0
melody_stride_seconds: 1.0
"""


@pytest.mark.parametrize("description", [DESCRIPTION, WITH_MELODY], ids=["plain", "melody"])
def test_a_store_that_gave_each_size_a_name_of_its_own_is_read(
    tmp_path: Path, description: StoreDescription
) -> None:
    _store(tmp_path, description)
    (tmp_path / "store.yaml").write_text(OLD_WORDS + OLD_MELODY * (description is WITH_MELODY))
    assert TokenStore(tmp_path).description == description
    write_description(tmp_path, description)  # the same tokenizers: refuses nothing


def test_a_store_written_before_there_were_melodies_is_one_without(tmp_path: Path) -> None:
    rows = _store(tmp_path, WITH_MELODY)
    (tmp_path / "store.yaml").write_text(OLD_WORDS)
    old = TokenStore(tmp_path).table.slice(0, 2).drop_columns(["melody"])  # beside a shard written today
    shard = shard_path(tmp_path, 0)
    shard.unlink()  # what is still mapped stays what it was
    with pyarrow.OSFile(str(shard), "wb") as file, pyarrow.ipc.new_file(file, old.schema) as writer:
        writer.write_table(old)
    store = TokenStore(tmp_path)
    assert [row.id for row in store] == [row.id for row in rows]
    assert all("melody" not in row.streams for row in store)
    crops = TokenCrops(tmp_path, 2.0, batch_size=4, crops_per_epoch=8)
    assert [stream.name for stream in crops.streams] == ["semantic", "acoustic", "mulan"]
    batch = crops.on_after_batch_transfer(next(iter(crops.train_dataloader())), 0)
    assert set(batch) == {"mulan", "semantic", "acoustic"}


def test_writing_leaves_whole_shards_and_nothing_else(tmp_path: Path) -> None:
    _store(tmp_path)
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == [
        "codebooks.safetensors",
        "joint_quantizer",
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
        write_description(tmp_path, replace(DESCRIPTION, fingerprints={"codec": "4567"}))
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


@pytest.mark.parametrize("seconds", [2.0, 3.0, 7.5])
def test_a_crop_s_melody_is_that_of_its_own_seconds(tmp_path: Path, seconds: float) -> None:
    rows = {row.id: row for row in _store(tmp_path, WITH_MELODY)}
    crops = TokenCrops(tmp_path, seconds, batch_size=8, crops_per_epoch=8)
    assert Stream("melody", 3, 8, 1 / 3, made_by=MADE_BY["melody"]) in crops.streams
    quantizer, windows = crops.quantizers["melody"], math.ceil(seconds / 3)
    assert torch.equal(crops.codebooks["melody"], quantizer.codebooks)
    batch = crops.on_after_batch_transfer(next(iter(crops.train_dataloader())), 0)
    assert batch["melody"].shape == (8, 3, windows)
    assert batch["melody"].dtype == torch.int64
    starts = set()
    for semantic, melody in zip(batch["semantic"], batch["melody"], strict=True):
        tokens = semantic[0].numpy().astype(np.uint16)
        (row, second), *others = [
            (row, second)
            for row in rows.values()
            for second in range(14)
            if np.array_equal(row.semantic[25 * second :][: len(tokens)], tokens)
        ]
        assert not others  # it begins on a whole second of one recording
        own = torch.from_numpy(
            row.streams["melody"][second : second + math.ceil(seconds) : 3].astype(np.float32)
        )
        own = torch.nn.functional.normalize(own, dim=-1)
        assert torch.equal(melody, quantizer.encode(own).T)
        starts.add(second)
    assert len(starts) > 2


@pytest.mark.parametrize(
    ("lengths", "held_out", "said"),
    [
        ((8.0, 8.0), 0, "no recording of {} is held out: no validation"),
        (
            (8.0, 3.0),
            1,
            "no held-out recording of {} is as long as a crop of 4 s, the longest is 3.0 s: no validation",
        ),
    ],
)
def test_crops_for_validation_are_never_of_training_music(
    lengths: tuple[float, ...], held_out: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_token_store(tmp_path / "tokens", lengths=lengths, held_out=held_out)
    crops = TokenCrops(tmp_path / "tokens", 4.0)
    assert crops.val_dataloader() == []
    assert capsys.readouterr().err == said.format(tmp_path / "tokens") + "\n"
    assert {row.split for row in crops.train_dataloader().dataset.rows} == {"train"}


def test_a_store_that_is_all_held_out_is_not_trained_on(tmp_path: Path) -> None:
    make_token_store(tmp_path / "tokens", lengths=(8.0, 8.0), held_out=2)
    with pytest.raises(ValueError, match=r"expected a recording to train on in .*, all are held out"):
        TokenCrops(tmp_path / "tokens", 4.0).train_dataloader()


def test_noise_turns_training_melodies_and_spares_validation(tmp_path: Path) -> None:
    _store(tmp_path, WITH_MELODY)
    plain, noisy = (
        TokenCrops(tmp_path, 4.0, noise={"melody": noise}, crops_per_epoch=64) for noise in (0.0, 1.0)
    )
    before, after = (crops.train_dataloader().dataset for crops in (plain, noisy))
    cosines = torch.cat([(before[i]["melody"] * after[i]["melody"]).sum(dim=-1) for i in range(64)])
    assert 0.5 < cosines.mean() < 0.9  # 1 / sqrt(1 + noise²) = 0.71
    assert all(torch.equal(before[i]["mulan"], after[i]["mulan"]) for i in range(64))
    held_out = noisy.val_dataloader().dataset
    assert torch.equal(held_out[0]["melody"], plain.val_dataloader().dataset[0]["melody"])


def test_a_crop_is_conditioned_on_the_windows_whose_middle_it_holds(tmp_path: Path) -> None:
    _store(tmp_path)
    row = _row(0)  # windows begin at 0 … 4 s, their middles lie at 5 … 9 s
    description = read_description(tmp_path)
    embedding = crop_embedding(
        row, description["mulan"], start=5.5, seconds=4.0
    )  # 5.5 … 9.5 s: windows 1 … 4
    mean = row.streams["mulan"][1:5].astype(np.float32).mean(axis=0)
    np.testing.assert_allclose(embedding, mean / np.linalg.norm(mean), rtol=1e-6)
    first = row.streams["mulan"][0].astype(np.float32)
    embedding = crop_embedding(row, description["mulan"], start=0.0, seconds=4.0)
    np.testing.assert_allclose(embedding, first / np.linalg.norm(first), rtol=1e-6)


def test_noise_turns_an_embedding_by_its_own_length_and_spares_validation(tmp_path: Path) -> None:
    _store(tmp_path)
    plain, noisy = (
        TokenCrops(tmp_path, 4.0, noise={"mulan": noise}, crops_per_epoch=64) for noise in (0.0, 1.0)
    )
    before, after = (crops.train_dataloader().dataset for crops in (plain, noisy))
    cosines = torch.stack([before[i]["mulan"] @ after[i]["mulan"] for i in range(64)])
    assert 0.5 < cosines.mean() < 0.9  # 1 / sqrt(1 + noise²) = 0.71
    assert all(torch.equal(before[i]["semantic"], after[i]["semantic"]) for i in range(64))
    held_out = noisy.val_dataloader().dataset
    assert torch.equal(held_out[0]["mulan"], plain.val_dataloader().dataset[0]["mulan"])


def test_latents_are_cut_to_the_time_of_the_crop(tmp_path: Path) -> None:
    latents = Stream("latents", 1, 5, 12.5, kind="latents", made_by=("autoencoder",))
    _store(tmp_path)
    (tmp_path / "store.yaml").unlink()
    write_description(tmp_path, replace(DESCRIPTION, streams=(*DESCRIPTION.streams, latents)))
    for path in tmp_path.glob("tokens-*.arrow"):
        path.unlink()
    counted = np.tile(np.arange(175, dtype=np.float16), (5, 1))  # 14 s; each value its own place
    rows = [replace(row, streams=row.streams | {"latents": counted}) for row in map(_row, range(3))]
    write_shard(shard_path(tmp_path, 0), rows)
    batch = next(iter(TokenCrops(tmp_path, 4.0, batch_size=3).train_dataloader()))
    assert batch["latents"].shape == (3, 5, 50)
    assert batch["latents"].dtype == torch.float32
    for semantic, values in zip(batch["semantic"], batch["latents"], strict=True):
        begins = [
            start
            for row in rows
            for start in range(251)
            if np.array_equal(row.semantic[start : start + 100], semantic[0].numpy().astype(np.uint16))
        ]
        assert [round(begin / 2) for begin in begins] == [int(values[0, 0])]


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


def _heard_by_the_default(folder: Path) -> None:
    """A store whose embeddings are of the default bundle's joint embedding, each recording with captions."""
    fingerprints = {"joint_embedding": Bundle.find("default").fingerprint("joint_embedding")}
    streams = streams_of(semantic=16, acoustic=(3, 8), mulan=128)
    write_description(folder, StoreDescription(streams, fingerprints))
    random = np.random.default_rng(0)
    rows = [_row(index, split="valid" if index == 3 else "train") for index in range(4)]
    rows = [
        replace(row, streams=row.streams | {"mulan": random.normal(size=(5, 128)).astype(np.float16)})
        for row in rows
    ]
    rows[0] = replace(rows[0], captions=[])
    write_shard(shard_path(folder, 0), rows)
    write_codebooks(folder, CODEBOOKS)
    save_quantizer(folder, "joint_quantizer", dimension=128, num_quantizers=2)


def test_a_share_of_training_crops_is_told_its_caption_as_a_prompt_would_be(tmp_path: Path) -> None:
    _heard_by_the_default(tmp_path)
    crops = TokenCrops(tmp_path, 2.0, batch_size=64, crops_per_epoch=64, captions=0.5)
    drawn = next(iter(crops.train_dataloader()))
    said = drawn["caption"]
    assert {"", "a tune", "ein Stück"} == set(said)
    assert 8 <= sum(map(bool, said)) <= 32  # a half of those of two recordings of three
    batch = crops.on_after_batch_transfer(drawn, 0)
    assert set(batch) == {"mulan", "semantic", "acoustic"}
    joint, quantizer = Bundle.find("default").load("joint_embedding"), crops.quantizers["mulan"]
    for text, audio, codes in zip(said, drawn["mulan"], batch["mulan"], strict=True):
        vector = joint.embed_text([text])[0] if text else audio
        assert torch.equal(codes[:, 0], quantizer.encode(vector[None])[0])
    assert "caption" not in next(iter(crops.val_dataloader()))  # what is measured is as it was


def test_captions_want_the_joint_embedding_that_made_the_tokens(tmp_path: Path) -> None:
    _store(tmp_path)
    with pytest.raises(ValueError, match=r"expected the joint embedding that .* was made with \(none\)"):
        TokenCrops(tmp_path, 2.0, captions=0.5)
    with pytest.raises(ValueError, match=r"a share of the crops, in \[0, 1\], got 2"):
        TokenCrops(tmp_path, 2.0, captions=2)
