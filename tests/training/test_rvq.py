"""Learning the residual quantizer from MuLan's embeddings: fitted at the end, resumed as if never stopped."""

from pathlib import Path

import lightning
import pytest
import torch

from musiclm.bundle import save_component
from musiclm.data.crops import AudioCrops
from musiclm.data.melody_windows import MelodyVersions
from musiclm.tokenizers.mulan import MuLan
from musiclm.tokenizers.mulan_towers import AudioTower, TextTower
from musiclm.tokenizers.rvq import ResidualQuantizer
from musiclm.training.mulan import train_vocabulary
from musiclm.training.rvq import MelodyQuantizerTraining, ResidualQuantizerTraining
from tests.tiny import folder_of_melodies, folder_of_tones, quiet_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory.*exists and is not empty.*"),
]
AUDIO = {"dimension": 8, "num_mels": 16, "stem_channels": 4, "channels": [4, 8], "blocks": [1, 1]}
TEXT = {"dimension": 8, "width": 16, "num_layers": 1, "num_heads": 2, "vocabulary_size": 384}


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_tones(tmp_path_factory.mktemp("tones") / "audio", 24, seconds=1.0)


@pytest.fixture(scope="module")
def mulan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    part = MuLan(AudioTower(**AUDIO), TextTower(**TEXT), dimension=8, window_seconds=0.5)
    captions = ["a steady tone number 0 1 2 3 4 5 6 7 8 9", "a plain sine"]
    part.text.set_vocabulary(train_vocabulary(captions, 384), captions)
    towers = "musiclm.tokenizers.mulan_towers."
    words = {
        "audio": {"class_path": towers + "AudioTower", "init_args": AUDIO},
        "text": {"class_path": towers + "TextTower", "init_args": TEXT},
        "dimension": 8,
        "window_seconds": 0.5,
    }
    folder = tmp_path_factory.mktemp("runs") / "mulan"
    save_component(
        folder,
        "joint_embedding",
        part,
        class_path="musiclm.tokenizers.mulan.MuLan",
        init_args=words,
        storage="float32",
    )
    return folder


def make_training(
    mulan: Path, *, codebook_size: int = 8, text_share: float = 0.0
) -> ResidualQuantizerTraining:
    part = ResidualQuantizer(8, 3, codebook_size=codebook_size)
    return ResidualQuantizerTraining(part, mulan=mulan, text_share=text_share)


def fit(
    training: ResidualQuantizerTraining, tones: Path, root: Path, *, epochs: int, resume: Path | None = None
) -> lightning.Trainer:
    trainer = lightning.Trainer(
        default_root_dir=root,
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        callbacks=[lightning.pytorch.callbacks.ModelCheckpoint(root, save_last=True, save_top_k=0)],
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    data = AudioCrops(tones, 0.5, batch_size=8, crops_per_epoch=32, validation_crops=16)
    trainer.fit(training, datamodule=data, ckpt_path=resume)
    return trainer


def test_codebooks_are_learned_from_the_crops_and_measured(tones: Path, mulan: Path, tmp_path: Path) -> None:
    training = make_training(mulan)
    trainer = fit(training, tones, tmp_path, epochs=1)
    assert training.vectors.shape == (32, 8)
    reference = ResidualQuantizer(8, 3, codebook_size=8)
    cosines = reference.fit(training.vectors)
    assert torch.equal(training.part.codebooks, reference.codebooks)
    assert cosines == sorted(cosines)
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert figures["val/cosine_1"] < figures["val/cosine_3"] <= 1
    assert 0 <= figures["val/agreement"] <= 1
    assert {"val/text_cosine", "val/agreement_by_chance", "val/token_recall_1"} <= set(figures)


def test_captions_are_collected_when_asked_for(tones: Path, mulan: Path, tmp_path: Path) -> None:
    training = make_training(mulan, text_share=0.5)
    fit(training, tones, tmp_path, epochs=1)
    assert training.vectors.shape == (32 + 16, 8)


def test_a_resumed_training_is_the_unbroken_one(tones: Path, mulan: Path, tmp_path: Path) -> None:
    unbroken = make_training(mulan)
    fit(unbroken, tones, tmp_path / "unbroken", epochs=2)
    fit(make_training(mulan), tones, tmp_path / "stopped", epochs=1)
    resumed = make_training(mulan)
    fit(resumed, tones, tmp_path / "stopped", epochs=2, resume=tmp_path / "stopped" / "last.ckpt")
    assert resumed.vectors.shape == (64, 8)
    assert torch.equal(resumed.vectors, unbroken.vectors)
    assert torch.equal(resumed.part.codebooks, unbroken.part.codebooks)


def test_a_finished_run_has_its_codebooks_in_the_checkpoint(tones: Path, mulan: Path, tmp_path: Path) -> None:
    finished = make_training(mulan)
    fit(finished, tones, tmp_path, epochs=1)
    again = make_training(mulan)
    fit(again, tones, tmp_path, epochs=1, resume=tmp_path / "last.ckpt")
    assert torch.equal(again.part.codebooks, finished.part.codebooks)


def test_mulan_is_frozen_and_no_part_of_the_checkpoint(tones: Path, mulan: Path, tmp_path: Path) -> None:
    training = make_training(mulan)
    frozen = training._teacher[0]
    before = {key: value.clone() for key, value in frozen.state_dict().items()}
    fit(training, tones, tmp_path, epochs=1)
    assert set(training.state_dict()) == {"part.codebooks", "vectors"}
    assert not frozen.training
    assert all(torch.equal(before[key], value) for key, value in frozen.state_dict().items())


def test_too_few_crops_are_refused(tones: Path, mulan: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 33 vectors"):
        fit(make_training(mulan, codebook_size=33), tones, tmp_path, epochs=1)


def test_another_dimension_than_mulans_is_refused(mulan: Path) -> None:
    with pytest.raises(ValueError, match="dimension 8"):
        ResidualQuantizerTraining(ResidualQuantizer(16, 3, codebook_size=8), mulan=mulan)


class Ears(torch.nn.Module):
    """In the melody embedding's place: 8 numbers of a window, on the sphere."""

    dimension = 8

    def forward(self, waveform: torch.Tensor) -> torch.Tensor:
        parts = waveform.unflatten(2, (8, -1)).square().mean(dim=3)[:, 0]
        return torch.nn.functional.normalize(parts, dim=1)


def test_melodies_are_learned_from_mixes_and_voices_and_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musiclm.training.rvq.load_component", lambda folder: Ears())
    training = MelodyQuantizerTraining(ResidualQuantizer(8, 3, codebook_size=8), melody=tmp_path)
    trainer = quiet_trainer(tmp_path, 1, num_sanity_val_steps=0, enable_checkpointing=False)
    folder = folder_of_melodies(tmp_path / "melodies", 8)
    data = MelodyVersions(folder, views=5, batch_size=2, windows_per_epoch=4, validation_windows=4)
    trainer.fit(training, datamodule=data)
    assert training.vectors.shape == (4 * 5, 8)
    assert set(training.state_dict()) == {"part.codebooks", "vectors"}
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert figures["val/cosine_1"] < figures["val/cosine_3"] <= 1
    assert {"val/cosine_hum", "val/token_recall_hum", "val/token_recall_accompaniment"} <= set(figures)
