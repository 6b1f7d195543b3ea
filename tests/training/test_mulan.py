"""Training of MuLan: learning on a toy set, and resuming as if never stopped."""

import math
import warnings
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

from musiclm.audio import Audio
from musiclm.data.crops import AudioCrops
from musiclm.tokenizers.mulan import MuLan
from musiclm.tokenizers.mulan_towers import AudioTower, TextTower
from musiclm.training.mulan import MuLanTraining, train_vocabulary
from tests.tiny import folder_of_tones

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory.*exists and is not empty.*"),
]
RATE = 4000
COLOURS = ["low", "middle", "high", "noisy"]


def folder_of_colours(folder: Path) -> Path:
    """Sixteen recordings of four kinds that a caption tells apart, four of them held out by their names."""
    folder.mkdir(parents=True)
    generator = torch.Generator().manual_seed(0)
    time = torch.arange(RATE * 2) / RATE
    for index in range(24):
        kind = index % 4
        pitch = 110.0 * 4**kind * (1 + 0.1 * torch.rand((), generator=generator))
        waveform = 0.3 * torch.sin(2 * math.pi * pitch * time)
        if kind == 3:
            waveform = 0.3 * torch.rand(len(time), generator=generator) - 0.15
        Audio(waveform[None], RATE).save(folder / f"{index:02d}.wav")
        words = f"a {COLOURS[kind]} sound\n{COLOURS[kind]}, steady\nsomething {COLOURS[kind]}\n"
        (folder / f"{index:02d}.txt").write_text(words)
    return folder


def make_training(kind: type[MuLanTraining] = MuLanTraining, **values: Any) -> MuLanTraining:
    torch.manual_seed(0)
    audio = AudioTower(16, RATE, num_mels=16, stem_channels=4, channels=[8, 16], blocks=[1, 1])
    text = TextTower(16, 16, num_layers=1, num_heads=2, vocabulary_size=384, max_pieces=16)
    part = MuLan(audio, text, dimension=16, window_seconds=1.0)
    values = {"optimizer": lambda parameters: torch.optim.Adam(parameters, lr=1e-2), **values}
    return kind(part, warmup_steps=2, **values)


def crops(folder: Path, steps: int) -> AudioCrops:
    return AudioCrops(
        folder, 1.0, batch_size=16, sample_rate=RATE, crops_per_epoch=16 * steps, validation_crops=32
    )


def fit(training: MuLanTraining, folder: Path, root: Path, *, steps: int, epochs: int, **more: Any) -> None:
    trainer = lightning.Trainer(
        default_root_dir=root,
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
    )
    trainer.fit(training, datamodule=crops(folder, steps), **more)
    if "ckpt_path" not in more:
        trainer.save_checkpoint(root / "last.ckpt")


@pytest.fixture(scope="module")
def colours(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_colours(tmp_path_factory.mktemp("colours") / "audio")


def test_vocabulary_is_the_same_each_time_and_needs_sentences() -> None:
    captions = ["a calm violin", "fast drums at 120 bpm"]
    assert train_vocabulary(captions, 384) == train_vocabulary(captions, 384)
    with pytest.raises(ValueError, match="captions"):
        train_vocabulary(["", "..."], 384)


def test_a_few_steps_lower_the_loss_and_find_the_right_kind(colours: Path, tmp_path: Path) -> None:
    losses: list[float] = []

    class Record(MuLanTraining):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            losses.append(outputs["loss"].item())

    training = make_training(kind=Record)
    fit(training, colours, tmp_path, steps=20, epochs=2)
    assert sum(losses[-5:]) < 0.8 * sum(losses[:5])
    assert {"val/recall_1", "val/recall_10", "val/median_rank", "val/gap", "train/loss"} <= set(
        training.trainer.callback_metrics
    )
    # Words not met as a caption; audio not met either.
    part = training.part.eval()
    time = torch.arange(RATE) / RATE
    pitches = torch.tensor([120.0, 470.0, 1900.0])
    audio = part.embed_audio(0.3 * torch.sin(2 * math.pi * pitches[:, None, None] * time))
    similarity = part.embed_text([f"the {colour} one" for colour in COLOURS[:3]]) @ audio.T
    assert similarity.argmax(dim=1).tolist() == [0, 1, 2]


def test_a_resumed_training_is_the_unbroken_one(colours: Path, tmp_path: Path) -> None:
    unbroken = make_training()
    fit(unbroken, colours, tmp_path / "unbroken", steps=3, epochs=2)

    stopped = make_training()
    stopped_root = tmp_path / "stopped"
    data = crops(colours, 3)
    trainer = lightning.Trainer(
        default_root_dir=stopped_root,
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
        callbacks=[_SaveAfterFirstEpoch(stopped_root / "first.ckpt")],
    )
    trainer.fit(stopped, datamodule=data)
    torch.manual_seed(123)  # another process has another state
    resumed = make_training()
    fit(resumed, colours, tmp_path / "resumed", steps=3, epochs=2, ckpt_path=stopped_root / "first.ckpt")
    for key, value in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key
    assert resumed.part.words == unbroken.part.words == {"a", "sound", "steady", "something", *COLOURS}


def test_recordings_without_captions_are_refused(tmp_path: Path) -> None:
    folder = folder_of_tones(tmp_path / "audio", 3)
    for file in folder.glob("*.txt"):
        file.unlink()
    with pytest.raises(ValueError, match="captions"):
        fit(make_training(), folder, tmp_path, steps=1, epochs=1)


def test_rows_without_a_caption_have_no_text() -> None:
    training = make_training(captions_per_crop=2, join_share=0.0)
    texts, rows = training._draw_texts(["low", "", "high"], ["a", "b", "c"])
    assert texts == ["low", "low", "high", "high"]
    assert rows == [0, 0, 2, 2]


class _SaveAfterFirstEpoch(lightning.Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.current_epoch == 0:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trainer.save_checkpoint(self.path)
