"""Training of the codec: losses of known value, learning, resuming, configs that build."""

import math
from pathlib import Path
from typing import Any

import lightning
import pytest
import torch
import yaml
from torch import Tensor

from musiclm.data.crops import AudioCrops
from musiclm.metrics.fidelity import MelDistance
from musiclm.tokenizers.convnext import ConvNeXtDecoder, ConvNeXtEncoder
from musiclm.tokenizers.soundstream import SoundStream
from musiclm.training.codec_losses import (
    MultiScaleMelLoss,
    discriminator_hinge,
    feature_matching,
    generator_hinge,
    waveform_loss,
)
from musiclm.training.discriminators import Discriminators
from musiclm.training.soundstream import SoundStreamTraining
from tests.tiny import folder_of_tones

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory.*exists and is not empty.*"),
]
CONFIGS = Path(__file__).parents[2] / "configs"
RATE = 24_000


def chord(batch: int = 2, length: int = 7200) -> Tensor:
    time = torch.arange(length) / RATE
    pitches = 220.0 * (1 + torch.arange(batch))[:, None]
    return (0.3 * torch.sin(2 * math.pi * pitches * time) + 0.2 * torch.sin(3 * math.pi * pitches * time))[
        :, None
    ]


def make_training(**values: Any) -> SoundStreamTraining:
    torch.manual_seed(0)
    part = SoundStream(
        ConvNeXtEncoder(8, width=16, hidden=32, depth=1),
        ConvNeXtDecoder(8, width=16, hidden=32, depth=1),
        dimension=8,
        num_quantizers=3,
        codebook_size=8,
    )
    settings: dict[str, Any] = {
        "optimizer": lambda groups: torch.optim.AdamW(groups, lr=3e-3),
        "mel_windows": (128, 512),
        "mel_bands": 16,
        "adversarial_start": 2,
        "feature_weight": 1.0,
        "warmup_steps": 1,
    }
    discriminators = Discriminators(waveform_width=4, spectrum_width=2)
    return SoundStreamTraining(part, discriminators=discriminators, **settings | values)


def fit(
    training: SoundStreamTraining, folder: Path, root: Path, *, epochs: int, **more: Any
) -> lightning.Trainer:
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
    crops = AudioCrops(folder, 0.25, batch_size=2, crops_per_epoch=8, validation_crops=2)
    trainer.fit(training, datamodule=crops, **more)
    return trainer


@pytest.fixture(scope="module")
def tones(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_tones(tmp_path_factory.mktemp("tones") / "audio", 4, held_out=1, seconds=1.0)


# Losses


def test_hinge_losses_have_their_known_values() -> None:
    real = [[torch.tensor([2.0, 0.5])], [torch.tensor([1.0])]]
    fake = [[torch.tensor([-2.0, 0.0])], [torch.tensor([3.0])]]
    # discriminators: mean(0, .5) + mean(0, 1) = .75 and 0 + 4; codec: mean(3, 1) = 2 and 0
    assert discriminator_hinge(real, fake).item() == pytest.approx((0.75 + 4.0) / 2)
    assert generator_hinge(fake).item() == pytest.approx(1.0)


def test_feature_matching_compares_inner_layers_and_leaves_the_logits_out() -> None:
    real = [[torch.zeros(3), torch.ones(2), torch.full((1,), 9.0)]]
    fake = [[torch.ones(3), torch.full((2,), 4.0), torch.zeros(1)]]
    assert feature_matching(real, fake).item() == pytest.approx((1.0 + 3.0) / 2)


def test_a_perfect_copy_costs_nothing_and_a_wrong_one_more_than_a_near_one() -> None:
    target = chord()
    near = target + 0.01 * torch.randn(target.shape)
    far = target + 0.2 * torch.randn(target.shape)
    for loss in (MultiScaleMelLoss(RATE, windows=(64, 512), bands=32), MelDistance(RATE), waveform_loss):
        assert loss(target, target).item() == pytest.approx(0.0, abs=1e-6)
        assert 0.0 < loss(near, target) < loss(far, target)


def test_gradient_of_the_mel_loss_is_finite_for_silence() -> None:
    output = torch.zeros(1, 1, 4800, requires_grad=True)
    MultiScaleMelLoss(RATE, windows=(64, 512), bands=32)(output, chord(1, 4800)).backward()
    assert output.grad is not None
    assert output.grad.isfinite().all()


def test_discriminators_give_a_judgement_per_stretch_from_each_of_four() -> None:
    judged = Discriminators(waveform_width=4, spectrum_width=2)(chord())
    assert len(judged) == 4
    for layers in judged:
        assert all(layer.shape[0] == 2 and layer.isfinite().all() for layer in layers)
        assert layers[-1].shape[1] == 1
    lengths = [layers[0].shape[-1] for layers in judged[:3]]
    assert lengths == [7200, 3600, 1800]


# Training


def test_no_gradient_crosses_between_codec_and_discriminators() -> None:
    training = make_training()
    target = chord()
    output = (0.5 * target).requires_grad_()
    losses = training._adversarial_losses(output, target)
    (losses["adversarial"] + losses["features"]).backward(retain_graph=True)
    assert output.grad is not None
    assert output.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in training.discriminators.parameters())
    output.grad = None
    losses["discriminators"].backward()
    assert output.grad is None
    assert all(parameter.grad is not None for parameter in training.discriminators.parameters())


def test_a_balanced_step_gives_the_sound_a_gradient_of_the_shares_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = make_training(
        balance=True, mel_weight=3.0, waveform_weight=1.0, adversarial_start=None, commitment_weight=0.0
    )
    training.trainer = lightning.Trainer(max_steps=1, logger=False, accelerator="cpu")
    monkeypatch.setattr(training, "log_dict", lambda *_, **__: None)  # there is no loop to log to
    target = chord()
    heard: list[Tensor] = []
    pulls: list[Tensor] = []
    training.part.decoder.register_forward_hook(lambda module, given, output: heard.append(output))
    loss = training.training_step({"waveform": target}, 0)
    heard[0].register_hook(pulls.append)
    loss.backward()
    output = heard[0].detach().requires_grad_()
    expected = torch.zeros_like(output)
    for share, function in ((0.75, training.mel_loss), (0.25, waveform_loss)):
        (pull,) = torch.autograd.grad(function(output, target), output)
        expected += share * pull / pull.flatten(1).norm(dim=1).mean() / len(target)
    torch.testing.assert_close(pulls[0], expected, rtol=1e-4, atol=1e-8)  # sums in another order
    assert all(
        parameter.grad is not None and bool(parameter.grad.any())
        for parameter in training.part.encoder.parameters()
    )


def test_levels_are_drawn_for_each_example_from_one_to_all() -> None:
    drawn = make_training()._draw_levels(2000)
    shares = torch.bincount(drawn, minlength=4)[1:] / 2000
    torch.testing.assert_close(shares, torch.full((3,), 1 / 3), atol=0.05, rtol=0)
    some = make_training(dropout=0.3)._draw_levels(2000)
    assert (some == 3).float().mean().item() == pytest.approx(0.7 + 0.1, abs=0.04)
    assert (make_training(dropout=0.0)._draw_levels(50) == 3).all()


def test_a_few_steps_bring_the_sound_closer(tones: Path, tmp_path: Path) -> None:
    training = make_training(adversarial_start=None)
    target = chord()

    def distance() -> float:
        training.eval()
        with torch.no_grad():
            value = float(training.mel_loss(training.part(target).waveform, target))
        training.train()
        return value

    fit(training, tones, tmp_path, epochs=1)
    early = distance()
    fit(training, tones, tmp_path, epochs=15)
    assert distance() < 0.8 * early


def test_training_logs_quality_and_the_use_of_every_level(tones: Path, tmp_path: Path) -> None:
    trainer = fit(make_training(), tones, tmp_path, epochs=1)
    figures = trainer.callback_metrics
    assert {"val/mel_distance", "val/si_sdr", "train/discriminators", "train/features"} <= figures.keys()
    for level in (1, 2, 3):
        assert 1.0 <= figures[f"val/perplexity_{level}"] <= figures[f"val/entries_used_{level}"] + 1e-3
        assert figures[f"val/entries_used_{level}"] <= 8


def test_lightning_counts_one_step_a_batch_although_two_sides_learn(tones: Path, tmp_path: Path) -> None:
    training = make_training()
    before = [parameter.clone() for parameter in training.discriminators.parameters()]
    trainer = fit(training, tones, tmp_path, epochs=2)
    assert trainer.global_step == 8
    assert any(
        not torch.equal(old, new)
        for old, new in zip(before, training.discriminators.parameters(), strict=True)
    )


def test_learning_rate_rises_then_falls_to_a_fiftieth() -> None:
    training = make_training(warmup_steps=10)
    training.trainer = lightning.Trainer(max_steps=110, logger=False, accelerator="cpu")
    assert training._learning_rate_at(0) == pytest.approx(0.1)
    assert training._learning_rate_at(10) == pytest.approx(1.0)
    assert training._learning_rate_at(60) == pytest.approx(0.51)
    assert training._learning_rate_at(110) == pytest.approx(0.02)
    training.trainer = lightning.Trainer(max_epochs=1, logger=False, accelerator="cpu")
    assert training._learning_rate_at(1_000_000) == 1.0


@pytest.mark.parametrize("balance", [False, True], ids=["summed", "balanced"])
def test_resumed_training_ends_where_unbroken_training_ends(
    balance: bool, tones: Path, tmp_path: Path
) -> None:
    unbroken = make_training(balance=balance)
    lightning.seed_everything(0, verbose=False)
    fit(unbroken, tones, tmp_path, epochs=1).save_checkpoint(tmp_path / "half.ckpt")
    random_state = torch.get_rng_state()

    whole = make_training(balance=balance)
    lightning.seed_everything(0, verbose=False)
    fit(whole, tones, tmp_path, epochs=2)
    resumed = make_training(balance=balance)
    torch.set_rng_state(random_state)
    trainer = fit(resumed, tones, tmp_path, epochs=2, ckpt_path=tmp_path / "half.ckpt")
    assert trainer.global_step == 8
    expected = whole.state_dict()
    actual = resumed.state_dict()
    assert expected.keys() == actual.keys()
    assert ("balancer.sums" in expected) == balance
    for name, value in expected.items():
        torch.testing.assert_close(actual[name], value, msg=name, rtol=0, atol=0)


# Configs


def build(*files: str) -> Any:
    """The training module that layered config files describe."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(SoundStreamTraining, "model")
    words: dict[str, Any] = {}
    for file in files:
        layer = yaml.safe_load((CONFIGS / file).read_text(encoding="utf-8"))["model"]
        words = merged(words, layer)
    return parser.instantiate(parser.parse_object({"model": words})).model


def merged(below: dict[str, Any], above: dict[str, Any]) -> dict[str, Any]:
    result = dict(below)
    for key, value in above.items():
        inner = isinstance(value, dict) and isinstance(below.get(key), dict)
        same = inner and value.get("class_path", None) == below[key].get("class_path", None)
        result[key] = merged(below[key], value) if same else value
    return result


@pytest.mark.parametrize(
    ("files", "at_least", "at_most"),
    [
        (["soundstream.yaml"], 8e6, 11e6),
        (["soundstream.yaml", "tiny/soundstream.yaml"], 1e4, 3e5),
        (["soundstream.yaml", "paper/soundstream.yaml"], 8e6, 40e6),
    ],
)
def test_every_config_builds_a_codec_of_its_size(files: list[str], at_least: float, at_most: float) -> None:
    part = build(*files).part
    size = sum(p.numel() for p in part.parameters()) + part.quantizer.codebooks.numel()
    assert at_least <= size <= at_most
    assert (part.sample_rate, part.hop_length) == (RATE, 480)


def test_the_paper_config_is_the_paper_codec() -> None:
    part = build("soundstream.yaml", "paper/soundstream.yaml").part
    assert type(part.encoder).__name__ == "SEANetEncoder"
    assert [part.bitrate_of(1), part.bitrate] == [500, 6000]
    with torch.no_grad():
        assert part.encoder(torch.zeros(1, 1, 960)).shape == (1, 256, 2)


def test_the_paper_config_trains_by_the_paper_s_losses() -> None:
    training = build("soundstream.yaml", "paper/soundstream.yaml")
    assert [scale.size for scale in training.mel_loss.scales] == [64, 128, 256, 512, 1024, 2048]
    assert all(scale.hop == scale.size // 4 for scale in training.mel_loss.scales)
    assert (training.mel_weight, training.adversarial_weight, training.feature_weight) == (1, 1, 100)
    assert (training.waveform_weight, training.dropout, training.balancer) == (0, 1, None)
    members = training.discriminators.members
    assert [member.factor for member in members[:3]] == [1, 2, 4]
    assert [(member.size, member.hop) for member in members[3:]] == [(1024, 256)]
