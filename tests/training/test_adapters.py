"""Training of adapters: from YAML to a component, the best on held-out music, an end when none is better."""

import copy
from pathlib import Path

import lightning
import numpy as np
import pytest
import torch

from musiclm import MusicLM
from musiclm.bundle import Bundle, load_component, merge, save_component
from musiclm.cli import main
from musiclm.data.token_crops import TokenCrops
from musiclm.stages.adapters import LoraConfig, StageAdapter
from musiclm.training.adapters import AdapterTraining
from tests.tiny import make_token_store, quiet_trainer
from tests.tiny_model import PROMPT, make_bundle
from tests.training.runs import refused, words

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory.*exists and is not empty.*"),
]
LENGTHS = (12.0,) * 5


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Music that always rises, 0 … 7: a base that has never heard it can learn it."""
    folder = tmp_path_factory.mktemp("store") / "tokens"
    make_token_store(folder, LENGTHS, held_out=2, semantic=[np.arange(300) % 8] * 5)
    return folder


def adam(rate: float = 0.02):
    return lambda parameters: torch.optim.AdamW(parameters, lr=rate)


def fit(
    bundle: Path, tokens: Path, root: Path, *, epochs: int = 6, rate: float = 0.02, patience: int | None = 4,
    callbacks: tuple[lightning.Callback, ...] = (), checkpoint: Path | None = None, dora: bool = False,
) -> AdapterTraining:  # fmt: skip
    torch.manual_seed(0)
    part = StageAdapter(LoraConfig(rank=4, dropout=0.1, dora=dora))
    training = AdapterTraining(part, str(bundle), optimizer=adam(rate), patience=patience)
    data = TokenCrops(tokens, 2.0, batch_size=4, crops_per_epoch=32, validation_crops=8)
    last = lightning.pytorch.callbacks.ModelCheckpoint(dirpath=root, save_last=True, save_top_k=0)
    trainer = quiet_trainer(root, epochs, callbacks=[last, *callbacks], num_sanity_val_steps=-1)
    trainer.fit(training, data, ckpt_path=checkpoint)
    return training


def test_the_recipe_trains_an_adapter_of_its_base_that_generation_takes(
    bundle: Path, tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    main(["fit", *words("adapter", f"tokens={tokens}", tmp_path), f"--model.init_args.base={bundle}"])
    assert "held-out perplexity" in capsys.readouterr().err
    made = Bundle(tmp_path / "part")
    assert list(made.components) == ["semantic_adapter"]
    component = made.component("semantic_adapter")
    assert component.trained_on == {"semantic_stage": Bundle(bundle).fingerprint("semantic_stage")}
    assert component.init_args["lora"]["rank"] == 2
    assert isinstance(load_component(made.path), StageAdapter)
    model = MusicLM.from_pretrained(bundle, adapters=[made.path])
    assert model.generate(PROMPT, seconds=0.5).seconds == 0.5
    main(["validate", *words("adapter", f"tokens={tokens}", tmp_path), f"--model.init_args.base={bundle}"])


@pytest.mark.parametrize("dora", [False, True])
def test_an_adapter_makes_the_base_better_on_held_out_music(
    dora: bool, bundle: Path, tokens: Path, tmp_path: Path
) -> None:
    training = fit(bundle, tokens, tmp_path, dora=dora)
    assert training.best_loss < 0.7 * training.base_loss
    for name, value in training.best.state_dict().items():
        assert torch.equal(training.part.state_dict()[name], value)


def test_the_base_stays_what_it_is_and_is_in_no_checkpoint(
    bundle: Path, tokens: Path, tmp_path: Path
) -> None:
    base = Bundle(bundle).load("semantic_stage").state_dict()
    training = fit(bundle, tokens, tmp_path, epochs=1)
    kept = {name.replace(".matrix.", "."): value for name, value in training.adapted.state_dict().items()}
    assert all(torch.equal(kept[name], value) for name, value in base.items())
    own = training.state_dict()
    assert {name.split(".")[0] for name in own} == {"part", "best", "best_loss", "base_loss", "in_vain"}


def test_a_training_that_makes_nothing_better_ends_and_does_not_begin_again(
    bundle: Path, tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training = fit(bundle, tokens, tmp_path, epochs=50, rate=0.0, patience=2)
    assert training.global_step == 2 * 8
    assert "the adapter changes nothing" in capsys.readouterr().err
    assert not any(change.up.any() for change in training.part.changes(0).values())
    again = fit(bundle, tokens, tmp_path, epochs=50, rate=0.0, patience=2, checkpoint=tmp_path / "last.ckpt")
    assert again.global_step == 2 * 8


class StopAt(lightning.Callback):
    """Ends a run early, as a kill between two epochs would."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def on_train_epoch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        if trainer.current_epoch + 1 == self.epoch:
            trainer.should_stop = True


def test_a_resumed_training_is_the_unbroken_one(bundle: Path, tokens: Path, tmp_path: Path) -> None:
    unbroken = fit(bundle, tokens, tmp_path / "a", epochs=4)
    fit(bundle, tokens, tmp_path / "b", epochs=4, callbacks=(StopAt(2),))
    resumed = fit(bundle, tokens, tmp_path / "b", epochs=4, checkpoint=tmp_path / "b" / "last.ckpt")
    for name, value in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


@pytest.mark.filterwarnings("ignore:.*`val_dataloader`.*")
@pytest.mark.filterwarnings("ignore:.*Total length of.*is zero.*")
def test_without_held_out_music_the_last_adapter_is_kept(bundle: Path, tmp_path: Path) -> None:
    make_token_store(tmp_path / "tokens", LENGTHS, held_out=0)
    data = words("adapter", f"tokens={tmp_path / 'tokens'}", tmp_path / "run")
    main(["fit", *data, f"--model.init_args.base={bundle}"])
    adapter = load_component(tmp_path / "run" / "part")
    assert any(change.up.any() for change in adapter.changes(0).values())


def test_tokens_that_the_base_has_not_learned_are_refused_in_one_line(
    bundle: Path, tokens: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = [*words("adapter", f"tokens={tokens}", tmp_path / "run"), f"--model.init_args.base={bundle}"]
    line = refused(capsys, ["fit", *data, "--model.init_args.stage=coarse"])
    assert "expected acoustic of 8 entries, which the coarse_stage of" in line
    found = Bundle(bundle)
    component = found.component("semantic_stage")
    stranger = save_component(
        tmp_path / "stage",
        "semantic_stage",
        copy.deepcopy(found.load("semantic_stage")),
        class_path=component.class_path,
        init_args=component.init_args,
        storage="float32",
        trained_on={"semantic_quantizer": "4567"},
    )
    merge([stranger], tmp_path / "base")
    line = refused(capsys, ["fit", *data[:-1], f"--model.init_args.base={tmp_path / 'base'}"])
    assert "was made by another semantic_quantizer" in line
    assert "expected a bundle" in refused(capsys, ["fit", *data[:-1], "--model.init_args.base=nowhere"])
