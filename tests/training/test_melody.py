"""Training of the melody embedding: a tune is known again in other sound, a resumed run is the same."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch

from musiclm.data.melodies import SILENCE
from musiclm.data.melody_windows import MelodyVersions
from musiclm.tokenizers.melody import BANDS_PER_SEMITONE, LOWEST_PITCH, MelodyEmbedding
from musiclm.training.melody import MelodyTraining, augment
from tests.tiny import folder_of_melodies, quiet_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory.*exists and is not empty.*"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_melodies(tmp_path_factory.mktemp("melodies") / "melodies", 12)


def make_training(kind: Callable[..., MelodyTraining] = MelodyTraining) -> MelodyTraining:
    torch.manual_seed(0)
    part = MelodyEmbedding(
        16, width=32, num_layers=1, num_heads=2, feed_forward=32, frames_per_token=4, place_width=4
    )
    return kind(
        part,
        optimizer=lambda parameters: torch.optim.Adam(parameters, lr=1e-2),
        warmup_steps=2,
        reader_width=32,
    )


def fit(
    training: MelodyTraining, folder: Path, root: Path, *, steps: int, epochs: int, **more: Any
) -> lightning.Trainer:
    trainer = quiet_trainer(root, epochs, num_sanity_val_steps=0, **more.pop("trainer", {}))
    data = MelodyVersions(folder, views=2, batch_size=6, windows_per_epoch=6 * steps, validation_windows=8)
    trainer.fit(training, datamodule=data, **more)
    return trainer


def test_bands_and_labels_move_together() -> None:
    pitches = torch.arange(60, 84).repeat_interleave(2)  # two views of each
    bands = torch.zeros(48, 216, 5)
    bands[torch.arange(48), (pitches - LOWEST_PITCH) * BANDS_PER_SEMITONE] = 1.0
    classes = torch.full((48, 3), SILENCE)
    classes[:, 1] = pitches % 12
    moved, labels = augment(bands, classes, views=2, white=torch.ones(216))
    loudest = moved.mean(dim=2).argmax(dim=1) / BANDS_PER_SEMITONE + LOWEST_PITCH  # within a third
    assert torch.equal(loudest.round().long() % 12, labels[:, 1])
    assert (labels[:, [0, 2]] == SILENCE).all()
    keys = (labels[:, 1] - classes[:, 1]) % 12
    assert torch.equal(keys[::2], keys[1::2]), "two views of a window in different keys"
    assert len(keys.unique()) > 4


@pytest.mark.slow
def test_a_few_steps_lower_every_loss_and_know_a_tune_again(folder: Path, tmp_path: Path) -> None:
    losses: list[dict[str, float]] = []

    class Record(MelodyTraining):
        def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
            losses.append({name: float(value) for name, value in self.trainer.callback_metrics.items()})

    training = make_training(Record)
    trainer = fit(training, folder, tmp_path, steps=50, epochs=1)
    # Read from the embedding, a tune in any of twelve keys takes more steps than these.
    for name, share in (("train/triplet", 0.8), ("train/reading", 0.98), ("train/tokens", 0.8)):
        first, last = losses[:5], losses[-5:]
        assert sum(step[name] for step in last) < share * sum(step[name] for step in first), name
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert figures["val/windows"] >= 2
    assert figures["val/recall_instrument"] > 2 / figures["val/windows"]  # chance is 1

    # The same notes an octave up are nearer than other notes of the same sound.
    windows = MelodyVersions(folder, views=2).windows("train")
    part = training.part.eval()

    def embed(melody: int, kind: str) -> torch.Tensor:
        version = windows.melodies[melody].versions[kind]
        return part(windows.view(version, 0.0, "alone", 0.0, None)[None])[0]

    tunes = range(len(windows.melodies))
    nearer = [
        embed(tune, "hum") @ embed(tune, "whistle") > embed(tune, "hum") @ embed(other, "hum")
        for tune in tunes
        for other in tunes
        if other != tune
    ]
    assert sum(nearer) > 0.6 * len(nearer)


def test_the_readers_are_in_no_bundle(folder: Path) -> None:
    training = make_training()
    assert not [name for name in training.part.state_dict() if "reader" in name]
    assert {name.split(".")[0] for name in training.state_dict()} == {"part", "reader", "token_reader"}


def test_a_resumed_training_is_the_unbroken_one(folder: Path, tmp_path: Path) -> None:
    unbroken = make_training()
    fit(unbroken, folder, tmp_path / "unbroken", steps=2, epochs=2)

    class SaveAfterFirstEpoch(lightning.Callback):
        def on_train_epoch_end(self, trainer: lightning.Trainer, module: lightning.LightningModule) -> None:
            if trainer.current_epoch == 0:
                trainer.save_checkpoint(tmp_path / "first.ckpt")

    stopped = make_training()
    fit(stopped, folder, tmp_path, steps=2, epochs=2, trainer={"callbacks": [SaveAfterFirstEpoch()]})
    torch.manual_seed(123)  # another process has another state
    resumed = make_training()
    fit(resumed, folder, tmp_path, steps=2, epochs=2, ckpt_path=tmp_path / "first.ckpt")
    for key, value in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[key], value), key
