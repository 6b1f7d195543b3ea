"""Promises of the training of k-means centroids."""

from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from musiclm.bundle import save_component
from musiclm.tokenizers.kmeans import KMeans
from musiclm.tokenizers.w2v_bert import W2VBert
from musiclm.training.kmeans import KMeansTraining
from tests.tiny import quiet_trainer

ENCODER: dict[str, Any] = {
    "num_layers": 2,
    "model_dim": 8,
    "num_heads": 2,
    "ffn_dim": 8,
    "conv_kernel": 3,
    "num_bert_layers": 1,
    "num_mels": 8,
    "num_codebook_entries": 4,
    "final_dim": 4,
    "window_seconds": 1.0,
    "overlap_seconds": 0.2,
}
BATCH = 4  # crops of one second: 100 frames

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*`isinstance\\(treespec, LeafSpec\\)` is deprecated"),
]


class Noise(Dataset[dict[str, Any]]):
    def __len__(self) -> int:
        return 3 * BATCH

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        return {"waveform": torch.randn(1, 24_000, generator=generator).cumsum(dim=1) * 0.01}


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("w2v_bert") / "part"
    save_component(
        folder,
        "semantic_encoder",
        W2VBert(**ENCODER),
        class_path="musiclm.tokenizers.w2v_bert.W2VBert",
        init_args=ENCODER,
        storage="float32",
    )
    return folder


def make_training(
    encoder: Path, *, sample_frames: int = 150, num_centroids: int = 6, **changes: Any
) -> KMeansTraining:
    part = KMeans(num_centroids, 8, layer=1)
    return KMeansTraining(part, w2v_bert=encoder, sample_frames=sample_frames, **changes)


def loader() -> DataLoader[dict[str, Any]]:
    return DataLoader(Noise(), batch_size=BATCH)


def blobs(count: int, centres: Tensor, spread: float = 0.05) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(centres), (count,), generator=generator)
    return centres[chosen] + torch.randn(count, centres.shape[1], generator=generator) * spread


CENTRES = torch.eye(8)[:6] * 3 + 5


def test_every_cluster_of_frames_gets_a_centroid_at_its_middle(encoder: Path) -> None:
    training = make_training(encoder, sample_frames=600, num_centroids=24)
    frames = blobs(600, CENTRES)
    training.gather(frames)
    assert training.fitted
    torch.testing.assert_close(training.part.mean, frames.mean(dim=0), rtol=0, atol=2e-3)
    torch.testing.assert_close(training.part.std[:6], frames.std(dim=0)[:6], rtol=1e-2, atol=1e-3)
    found = training.part.centroids[training.part.assign(CENTRES)] * training.part.std + training.part.mean
    torch.testing.assert_close(found, CENTRES, rtol=0, atol=0.1)


def test_refining_lowers_the_distortion_of_new_frames(encoder: Path) -> None:
    training = make_training(encoder, sample_frames=60)
    training.gather(blobs(60, CENTRES, spread=0.6))
    frames = blobs(3000, CENTRES + 0.3, spread=0.6)
    distortions = [float(training.refine(chunk)) for chunk in frames.split(300)]
    assert distortions[-1] < distortions[0]


def test_refining_is_a_running_mean_of_the_frames_won(encoder: Path) -> None:
    training = make_training(encoder, num_centroids=2, restart_share=0.0)
    training.part.centroids.copy_(torch.stack([torch.zeros(8), torch.full((8,), 10.0)]))
    training.counts.fill_(2.0)
    training.refine(torch.full((2, 8), 1.0))
    torch.testing.assert_close(training.part.centroids[0], torch.full((8,), 0.5))
    torch.testing.assert_close(training.part.centroids[1], torch.full((8,), 10.0))
    assert training.counts.tolist() == [4.0, 2.0]


def test_a_centroid_that_wins_nothing_restarts_at_a_frame(encoder: Path) -> None:
    training = make_training(encoder, num_centroids=3, restart_share=0.1)
    training.part.centroids.copy_(torch.tensor([0.0, 1.0, 1000.0])[:, None].expand(3, 8))
    training.counts.copy_(torch.tensor([100.0, 100.0, 1.0]))
    frames = torch.rand(50, 8, generator=torch.Generator().manual_seed(0))
    training.refine(frames)
    assert (frames == training.part.centroids[2]).all(dim=1).any()
    used = training.part.assign(frames).bincount(minlength=3)
    assert (used > 0).all()


def test_equal_frames_leave_no_centroid_without_a_value(encoder: Path) -> None:
    training = make_training(encoder, sample_frames=50)
    training.gather(torch.ones(50, 8))
    training.refine(torch.ones(20, 8))
    assert training.part.centroids.isfinite().all()
    assert training.counts.isfinite().all()
    assert (training.part.assign(torch.ones(3, 8)) < 6).all()


def test_fewer_frames_than_centroids_are_refused(encoder: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"sample_frames >= 6"):
        make_training(encoder, sample_frames=5)
    training = make_training(encoder, num_centroids=400, sample_frames=1000)
    with pytest.raises(ValueError, match="at least 400 frames, one a centroid, got 300"):
        quiet_trainer(tmp_path, 1, enable_checkpointing=False).fit(training, loader(), loader())


def test_a_training_that_ends_before_the_sample_is_full_uses_what_it_has(
    encoder: Path, tmp_path: Path
) -> None:
    training = make_training(encoder, sample_frames=100_000)
    quiet_trainer(tmp_path, 1, enable_checkpointing=False).fit(training, loader(), loader())
    assert training.fitted
    assert int(training.gathered) == 300


def test_a_part_for_another_encoder_is_refused(encoder: Path) -> None:
    with pytest.raises(ValueError, match="width 8 of a layer from 0 to 2"):
        KMeansTraining(KMeans(6, 12, layer=1), w2v_bert=encoder)
    with pytest.raises(ValueError, match="width 8 of a layer from 0 to 2"):
        KMeansTraining(KMeans(6, 8, layer=3), w2v_bert=encoder)
    with pytest.raises(FileNotFoundError):
        KMeansTraining(KMeans(6, 8, layer=1), w2v_bert=encoder / "nothing")


def test_the_encoder_is_neither_trained_nor_stored(encoder: Path, tmp_path: Path) -> None:
    training = make_training(encoder)
    before = {key: value.clone() for key, value in training._encoder[0].state_dict().items()}
    trainer = quiet_trainer(tmp_path, 1, enable_checkpointing=False)
    trainer.fit(training, loader(), loader())
    after = training._encoder[0].state_dict()
    assert all(torch.equal(before[key], after[key]) for key in before)
    assert trainer.global_step == 3
    assert set(training.state_dict()) == {
        "part.mean",
        "part.std",
        "part.centroids",
        "sample",
        "gathered",
        "counts",
    }


@pytest.mark.parametrize("sample_frames", [150, 450])
def test_a_resumed_training_ends_as_an_unbroken_one(
    encoder: Path, tmp_path: Path, sample_frames: int
) -> None:
    whole = make_training(encoder, sample_frames=sample_frames)
    quiet_trainer(tmp_path, 2, enable_checkpointing=False).fit(whole, loader(), loader())

    checkpoint = ModelCheckpoint(dirpath=tmp_path, save_last=True, save_top_k=0, every_n_epochs=1)
    quiet_trainer(tmp_path, 1, callbacks=[checkpoint]).fit(
        make_training(encoder, sample_frames=sample_frames), loader(), loader()
    )
    resumed = make_training(encoder, sample_frames=sample_frames)
    quiet_trainer(tmp_path, 2, callbacks=[checkpoint]).fit(
        resumed, loader(), loader(), ckpt_path=str(tmp_path / "last.ckpt")
    )
    for key, value in whole.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key
