"""Training of MuLan: the loss on known values, learning on a toy set, and resuming as if never stopped."""

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
from musiclm.training.mulan import MuLanTraining, contrastive_loss, retrieval, same_pair, train_vocabulary
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


def test_loss_of_perfect_pairs_is_known() -> None:
    vectors, positives = torch.eye(4), torch.eye(4, dtype=torch.bool)
    expected = math.log(1 + 3 * math.exp(-2.0))  # one positive at 2·1, three negatives at 2·0
    assert contrastive_loss(vectors, vectors, positives, 2.0).item() == pytest.approx(expected)


def test_loss_of_indistinct_pairs_is_that_of_a_guess() -> None:
    vectors = torch.tensor([[1.0, 0.0]]).expand(8, 2)
    loss = contrastive_loss(vectors, vectors, torch.eye(8, dtype=torch.bool), 10.0)
    assert loss.item() == pytest.approx(math.log(8))


def test_loss_is_symmetric_cross_entropy() -> None:
    audio, text = torch.nn.functional.normalize(torch.randn(2, 6, 5), dim=-1)
    logits, own = 3 * text @ audio.T, torch.arange(6)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = (cross_entropy(logits, own) + cross_entropy(logits.T, own)) / 2
    loss = contrastive_loss(audio, text, torch.eye(6, dtype=torch.bool), 3.0)
    torch.testing.assert_close(loss, expected)


def test_two_that_fit_equally_well_share_the_target() -> None:
    audio = torch.tensor([[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]])
    text = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    shared = torch.tensor([[True, True, False], [False, False, True]])
    # One of the two texts chooses between two equals; the other, and all audio, has no choice.
    assert contrastive_loss(audio, text, shared, 50.0).item() == pytest.approx(math.log(2) / 4, abs=1e-4)


def test_audio_without_a_text_only_serves_as_negative() -> None:
    audio = torch.eye(3)
    positives = torch.eye(3, dtype=torch.bool)[:2]
    loss = contrastive_loss(audio, audio[:2], positives, 2.0)
    rows, columns = math.log(1 + 2 * math.exp(-2.0)), math.log(1 + math.exp(-2.0))
    assert loss.item() == pytest.approx((rows + columns) / 2)


def test_text_without_audio_only_serves_as_negative() -> None:
    text = torch.eye(3)
    positives = torch.eye(3, dtype=torch.bool)[:, :2]
    loss = contrastive_loss(text[:2], text, positives, 2.0)
    rows, columns = math.log(1 + math.exp(-2.0)), math.log(1 + 2 * math.exp(-2.0))
    assert loss.item() == pytest.approx((rows + columns) / 2)


def test_same_recording_and_same_words_are_no_negatives() -> None:
    pairs = same_pair(["a", "b", "a", "c"], ["fast", "slow", "Fast!", "calm"], torch.tensor([0, 1, 3, 2]))
    # "fast" was said of a and of c; "slow" of b; "calm" of a's second crop.
    expected = [[1, 0, 1, 1], [0, 1, 0, 0], [1, 0, 1, 1], [1, 0, 1, 0]]
    assert pairs.int().tolist() == expected


def test_retrieval_counts_ranks_from_one_and_ties_as_half() -> None:
    candidates = torch.eye(20)
    queries = candidates[:3].clone()
    queries[1] = 0.5 * candidates[1] + 0.9 * candidates[0] + 0.8 * candidates[2]
    figures = retrieval(queries, candidates, torch.arange(3))
    assert figures == {"recall_1": pytest.approx(2 / 3), "recall_10": 1.0, "median_rank": 1.0}
    indistinct = retrieval(torch.ones(4, 20), candidates, torch.arange(4))
    assert indistinct == {"recall_1": 0.0, "recall_10": 0.0, "median_rank": 10.5}


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
    assert rows.tolist() == [0, 0, 2, 2]


class _SaveAfterFirstEpoch(lightning.Callback):
    def __init__(self, path: Path) -> None:
        self.path = path

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        if trainer.current_epoch == 0:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                trainer.save_checkpoint(self.path)
