"""Promises of w2v-BERT's training."""

from functools import partial
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from musiclm.training.w2v_bert import Masking, W2VBertTraining
from tests.tiny import make_w2v_bert, quiet_trainer

STEPS_PER_EPOCH = 3
BATCH = 4

pytestmark = [
    pytest.mark.filterwarnings("ignore:The '.*_dataloader' does not have many workers"),
    pytest.mark.filterwarnings("ignore:.*`isinstance\\(treespec, LeafSpec\\)` is deprecated"),
]


class Notes(Dataset[dict[str, Any]]):
    """Seconds of random notes: four pitches, a new one every 200 ms."""

    def __init__(self, count: int = STEPS_PER_EPOCH * BATCH) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(index)
        pitch = torch.tensor([220.0, 330.0, 500.0, 800.0])[torch.randint(4, (5,), generator=generator)]
        phase = pitch.repeat_interleave(4800).cumsum(0) * (2 * torch.pi / 24_000)
        return {"waveform": phase.sin()[None] * 0.3}


def make_training(seed: int = 0, **changes: Any) -> W2VBertTraining:
    part = make_w2v_bert(seed).train()
    optimizer = partial(torch.optim.AdamW, lr=5e-3)
    return W2VBertTraining(
        part,
        optimizer=optimizer,
        masking=Masking(span=3, probability=0.6),
        num_distractors=5,
        statistics_steps=2,
        **changes,
    )


def loader() -> DataLoader[dict[str, Any]]:
    return DataLoader(Notes(), batch_size=BATCH)


def batch() -> Tensor:
    return next(iter(loader()))["waveform"]


def step(training: W2VBertTraining, waveform: Tensor, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return training.losses(waveform)


def test_all_losses_are_finite_also_on_silence() -> None:
    training = make_training()
    for waveform in (batch(), torch.zeros(2, 1, 24_000)):
        losses = step(training, waveform)
        for name, value in vars(losses).items():
            assert torch.as_tensor(value).isfinite().all(), name
        expected = losses.contrastive + 0.1 * losses.diversity + losses.prediction
        torch.testing.assert_close(losses.total, expected)


def test_losses_fall_within_a_few_steps() -> None:
    training = make_training().train()
    training.measure_bands(batch(), 0)
    optimizer = torch.optim.AdamW(training.parameters(), lr=5e-3)
    waveform, totals = batch(), []
    for number in range(25):
        losses = step(training, waveform, seed=number)
        optimizer.zero_grad()
        losses.total.backward()
        optimizer.step()
        totals.append((float(losses.contrastive.detach()), float(losses.prediction.detach())))
    for first, last in zip(totals[0], torch.tensor(totals[-5:]).mean(dim=0).tolist(), strict=True):
        assert last < 0.9 * first


def test_every_parameter_learns() -> None:
    training = make_training().train()
    step(training, batch()).total.backward()
    still = [
        name
        for name, parameter in training.part.named_parameters()
        if parameter.grad is None or not parameter.grad.any()
    ]
    assert still == []


def test_only_masked_frames_enter_the_masked_prediction() -> None:
    training = make_training().eval()
    model = training.part.model
    seen: list[Tensor] = []
    masks: list[Tensor] = []
    model.final_bert_proj.register_forward_hook(lambda _, inputs, __: seen.append(inputs[0]))
    model.w2v2_model.masker.register_forward_hook(lambda _, __, output: masks.append(output[1]))
    outputs: list[Tensor] = []
    model.w2v2_model.encoder.register_forward_hook(lambda _, __, output: outputs.append(output))
    step(training, batch())
    (frames,), (mask,), (encoded,) = seen, masks, outputs
    assert 0 < mask.sum() < mask.numel()
    assert torch.equal(frames, encoded[mask])


def test_a_masked_frame_does_not_reach_its_own_prediction() -> None:
    training = make_training().eval()
    model = training.part.model
    masks: list[Tensor] = []
    outputs: list[Tensor] = []
    model.w2v2_model.masker.register_forward_hook(lambda _, __, output: masks.append(output[1]))
    model.w2v2_model.encoder.register_forward_hook(lambda _, __, output: outputs.append(output))
    frames = training.part.frames(batch()[:1]).detach().requires_grad_()
    training.part.frames = lambda waveform: frames  # type: ignore[method-assign]
    step(training, batch()[:1])
    (gradient,) = torch.autograd.grad(outputs[0].square().sum() + outputs[0].sum(), frames)
    reached = gradient.unflatten(1, (-1, 4)).abs().amax(dim=(2, 3)) > 0  # [1, T]
    assert torch.equal(reached, ~masks[0])


def test_the_features_tell_from_the_contrastive_layer_not_from_the_top() -> None:
    training = make_training().train()
    step(training, batch()).contrastive.backward()
    layers = training.part.model.w2v2_model.encoder.layers
    assert all(parameter.grad is None for parameter in layers[2].parameters())
    assert all(parameter.grad is not None for parameter in layers[1].parameters())


def test_the_temperature_falls_with_each_training_step_alone() -> None:
    training = make_training(temperature=(2.0, 0.5, 0.5)).train()
    temperatures = [step(training, batch()).temperature for _ in range(4)]
    assert temperatures == [2.0, 1.0, 0.5, 0.5]
    step(training.eval(), batch())
    assert int(training.part.model.w2v2_model.quantizer.num_updates) == 4


def test_bands_are_normalised_by_what_training_hears() -> None:
    training = make_training()
    first, second = torch.randn(2, 1, 24_000) * 0.1, batch()
    training.measure_bands(first, 0)
    training.measure_bands(second, 1)
    values = torch.stack([training.part.log_mel(first).flatten(0, 1).double()])
    other = training.part.log_mel(second).flatten(0, 1).double()
    mean = (values[0].mean(dim=0) + other.mean(dim=0)) / 2
    torch.testing.assert_close(training.part.band_mean.double(), mean, rtol=1e-4, atol=1e-5)
    square = (values[0].square().mean(dim=0) + other.square().mean(dim=0)) / 2
    torch.testing.assert_close(
        training.part.band_std.double(), (square - mean.square()).sqrt().clamp(min=0.02), rtol=1e-2, atol=1e-3
    )


def test_training_leaves_the_global_random_numbers_alone(tmp_path: Path) -> None:
    training = make_training()
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    with training._draws(5):
        first = torch.rand(3)
    assert torch.equal(torch.rand(3), expected)
    with training._draws(5):
        assert torch.equal(torch.rand(3), first)


def test_a_resumed_training_ends_as_an_unbroken_one(tmp_path: Path) -> None:
    whole = make_training()
    quiet_trainer(tmp_path, 2, enable_checkpointing=False).fit(whole, loader(), loader())

    # The same plan of 2 epochs, ended after 1 by a limit on time would look like this.
    checkpoint = ModelCheckpoint(dirpath=tmp_path, save_last=True, save_top_k=0, every_n_epochs=1)
    first = make_training()
    trainer = quiet_trainer(tmp_path, 2, callbacks=[checkpoint, StopAfterOneEpoch()])
    trainer.fit(first, loader(), loader())
    assert trainer.global_step == STEPS_PER_EPOCH
    second = make_training(seed=1)
    quiet_trainer(tmp_path, 2, callbacks=[checkpoint]).fit(
        second, loader(), loader(), ckpt_path=str(tmp_path / "last.ckpt")
    )
    for key, value in whole.state_dict().items():
        assert torch.equal(second.state_dict()[key], value), key
    assert not torch.equal(first.part.band_mean, torch.zeros(16))


class StopAfterOneEpoch(lightning.Callback):
    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        trainer.should_stop = True
