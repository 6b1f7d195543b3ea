"""Training of the stages: a sequence is learned and given back, and a resumed run is the unbroken one."""

import math
from pathlib import Path
from types import SimpleNamespace

import lightning
import pytest
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from musiclm.bundle import Bundle, load_component
from musiclm.stages.coarse import Coarse
from musiclm.stages.decoding import sample_codes
from musiclm.stages.fine import Fine
from musiclm.stages.layout import ABSENT
from musiclm.stages.semantic import Semantic
from musiclm.stages.stage import Stage
from musiclm.stages.transformer import TransformerConfig
from musiclm.training.cli import main
from musiclm.training.dropout import drop_conditions
from musiclm.training.stages import StageTraining, level_losses
from tests.compiling import COMPILES
from tests.stages.tiny_stages import ids_of, tiny_streams
from tests.tiny import make_token_store, quiet_trainer

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no `val_dataloader`"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory.*exists and is not empty.*"),
]

SIZE = 8
CONFIGS = Path(__file__).parents[2] / "configs"


class Songs(Dataset[dict[str, Tensor]]):
    """Two songs that only their MuLan token tells apart."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        song = index % 2
        generator = torch.Generator().manual_seed(song)
        return {
            "mulan": torch.full((2, 1), song),
            "semantic": torch.zeros(1, 5, dtype=torch.int64),
            "acoustic": torch.randint(SIZE, (4, 10), generator=generator),
        }


def songs(count: int = 8) -> DataLoader:
    return DataLoader(Songs(count), batch_size=4)


def make_stage(pattern: str = "delay", dropout: float = 0.0) -> Stage:
    torch.manual_seed(0)
    config = TransformerConfig(width=32, layers=2, heads=2, feed_forward=48, dropout=dropout)
    return Coarse(config, pattern=pattern, num_coarse=3, streams=tiny_streams())


def adam(parameters: object) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, lr=1e-2)


def make_trainer(root: Path, steps: int, **options: object) -> lightning.Trainer:
    words = {"enable_checkpointing": False, **options}
    return quiet_trainer(root, -1, max_steps=steps, num_sanity_val_steps=0, **words)


@pytest.mark.parametrize("pattern", ["flatten", "delay"])
def test_a_tiny_stage_learns_two_songs_and_gives_them_back(pattern: str, tmp_path: Path) -> None:
    training = StageTraining(make_stage(pattern), optimizer=adam, warmup_steps=5, ema_decay=0.9)
    trainer = make_trainer(tmp_path, 80, gradient_clip_val=1.0)
    trainer.fit(training, songs(160), songs())
    assert trainer.callback_metrics["val/perplexity"] < 1.1
    assert {"val/level_1", "val/level_2", "val/level_3", "train/loss"} <= set(trainer.callback_metrics)
    stage = training.part.eval()
    for song in range(2):
        item = Songs(2)[song]
        conditions = {name: item[name][None] for name in ("mulan", "semantic")}
        drawn = sample_codes(stage, conditions, frames=10, temperature=0)
        assert torch.equal(drawn[0], item["acoustic"][:3])


def test_levels_are_named_as_in_the_codec() -> None:
    config = TransformerConfig(width=16, layers=1, heads=2, feed_forward=24)
    training = StageTraining(Fine(config, num_coarse=2, streams=tiny_streams(levels=4)))
    logged: dict[str, Tensor] = {}
    training.log_dict = lambda figures, **_: logged.update(figures)  # type: ignore[method-assign]
    training._log(torch.tensor([1.0, 2.0]), "val")
    assert logged["val/level_3"] == pytest.approx(torch.e)
    assert logged["val/loss"] == 1.5
    assert "val/level_4" in logged


@COMPILES
@pytest.mark.parametrize("backend", [None, "aot_eager"])
def test_a_resumed_run_is_the_unbroken_one(backend: str | None, tmp_path: Path) -> None:
    """Weights, average, optimizer, schedule, dropout: all of it goes on where it was."""

    def run(root: Path, *stops: int) -> StageTraining:
        for number, stop in enumerate(stops):
            training = StageTraining(
                make_stage(dropout=0.1), optimizer=adam, condition_dropout=0.5, compile_backend=backend
            )
            last = lightning.pytorch.callbacks.ModelCheckpoint(dirpath=root, save_last=True, save_top_k=0)
            ends = StopAt(stop)
            trainer = make_trainer(root, 12, callbacks=[last, ends], enable_checkpointing=True)
            trainer.fit(training, songs(), ckpt_path=str(root / "last.ckpt") if number else None)
        return training

    unbroken, resumed = run(tmp_path / "a", 12), run(tmp_path / "b", 6, 12)
    assert resumed.global_step == 12
    for name, value in unbroken.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value), name


@COMPILES
@pytest.mark.parametrize("recomputes", [False, True])
def test_a_compiled_stage_learns_as_the_plain_one_and_its_weights_keep_their_names(recomputes: bool) -> None:
    losses, gradients, names = [], [], []
    for backend in (None, "aot_eager"):  # traced whole, forward and backward; run by the same operations
        training = StageTraining(
            make_stage(dropout=0.3), compile_backend=backend, activation_checkpointing=recomputes
        )
        part = training.part.train()
        compiled = [block._compiled_call_impl is not None for block in part.transformer.blocks]
        assert compiled == [backend is not None] * 2
        torch.manual_seed(0)  # of dropout
        losses.append(level_losses(part, part.layout.pick(next(iter(songs())))))
        losses[-1].mean().backward()
        gradients.append([parameter.grad for parameter in part.parameters()])
        names.append(list(training.state_dict()))
    assert names[0] == names[1]
    torch.testing.assert_close(losses[1], losses[0])
    torch.testing.assert_close(gradients[1], gradients[0])


def test_a_backend_that_torch_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="expected a compile_backend of torch, inductor for one, got 'fast'"):
        StageTraining(make_stage(), compile_backend="fast")


class StopAt(lightning.pytorch.callbacks.Callback):
    """Ends a run early, as a kill between two epochs would."""

    def __init__(self, step: int) -> None:
        self.step = step

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        trainer.should_stop = trainer.global_step >= self.step


def test_what_is_kept_is_the_average_of_the_weights(tmp_path: Path) -> None:
    part = make_stage()
    expected = part.embedding.weight.detach().clone()

    class Average(lightning.pytorch.callbacks.Callback):
        def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
            decay = min(0.5, (1 + trainer.global_step) / (10 + trainer.global_step))
            expected.lerp_(part.embedding.weight.detach(), 1 - decay)

    training = StageTraining(part, optimizer=adam, ema_decay=0.5)
    make_trainer(tmp_path, 4, callbacks=[Average()]).fit(training, songs())
    torch.testing.assert_close(part.embedding.weight.detach(), expected)


def test_dropped_conditions_are_absent_in_whole_rows_and_only_optional_ones() -> None:
    torch.manual_seed(0)
    stage = make_stage()
    codes = {"mulan": torch.ones(1000, 2, 1).long(), "semantic": torch.ones(1000, 1, 5).long()}
    dropped = drop_conditions(codes, StageTraining(stage).dropped)
    absent = (dropped["mulan"] == ABSENT).all(dim=(1, 2))
    assert torch.equal(absent, (dropped["mulan"] == ABSENT).any(dim=2).any(dim=1))
    assert 70 < int(absent.sum()) < 130
    assert torch.equal(dropped["semantic"], codes["semantic"])


def test_a_melody_is_dropped_in_half_of_the_rows_on_its_own() -> None:
    torch.manual_seed(0)
    config = TransformerConfig(width=16, layers=1, heads=2, feed_forward=24)
    training = StageTraining(Semantic(config, streams=tiny_streams(melody=True)))
    assert training.dropped == {"mulan": 0.1, "melody": 0.5}
    codes = {"mulan": torch.ones(4000, 2, 1).long(), "melody": torch.ones(4000, 2, 5).long()}
    dropped = drop_conditions(codes, training.dropped)
    mulan, melody = ((dropped[name] == ABSENT).all(dim=(1, 2)) for name in ("mulan", "melody"))
    assert torch.equal(melody, (dropped["melody"] == ABSENT).any(dim=2).any(dim=1))
    assert melody.float().mean() == pytest.approx(0.5, abs=0.03)
    assert (mulan & melody).float().mean() == pytest.approx(0.05, abs=0.02)
    with pytest.raises(ValueError, match=r"dropped conditions in \[0, 1\], got \[0.1, 1.5, 0.0\]"):
        StageTraining(make_stage(), timed_dropout=1.5)


def test_all_conditions_are_dropped_at_once_in_a_share_of_their_own() -> None:
    codes = {"mulan": torch.ones(4000, 2, 1).long(), "melody": torch.ones(4000, 2, 5).long()}
    shares = {"mulan": 0.1, "melody": 0.5}

    def lost(**joint: float) -> tuple[Tensor, Tensor]:
        torch.manual_seed(0)
        dropped = drop_conditions(codes | {"semantic": torch.ones(4000, 1, 5).long()}, shares, **joint)
        assert torch.equal(dropped["semantic"], torch.ones(4000, 1, 5).long())
        mulan, melody = ((dropped[name] == ABSENT).all(dim=2).all(dim=1) for name in shares)
        return mulan, melody

    torch.manual_seed(0)
    before = [torch.rand(4000) < share for share in shares.values()]  # as it was drawn without a joint share
    for found, expected in zip(lost(), before, strict=True):
        assert torch.equal(found, expected)
    mulan, melody = lost(joint=0.3)
    assert (mulan & melody).float().mean() == pytest.approx(0.3 + 0.7 * 0.05, abs=0.03)
    assert melody.float().mean() == pytest.approx(0.3 + 0.7 * 0.5, abs=0.03)
    assert all(bool(each.all()) for each in lost(joint=1.0))
    config = TransformerConfig(width=16, layers=1, heads=2, feed_forward=24)
    part = Semantic(config, streams=tiny_streams(melody=True))
    assert StageTraining(part, dropout={"melody": 0.2}).dropped == {"mulan": 0.1, "melody": 0.2}
    with pytest.raises(ValueError, match=r"dropped conditions in \[0, 1\]"):
        StageTraining(part, joint_dropout=2.0)


def test_a_stage_learns_to_follow_the_melody_and_the_loss_without_it_is_told(tmp_path: Path) -> None:
    """Two songs that only their melodies tell apart, the second one changing from window to window."""

    class Tunes(Songs):
        def __getitem__(self, index: int) -> dict[str, Tensor]:
            melody = torch.tensor([0, index % 2, 0]).expand(2, 3)
            semantic = torch.repeat_interleave(melody[:1], 3, dim=1)
            return {"mulan": torch.zeros(2, 1).long(), "melody": melody, "semantic": semantic}

    torch.manual_seed(0)
    part = Semantic(
        TransformerConfig(width=32, layers=2, heads=2, feed_forward=48, dropout=0.0),
        pattern="delay",
        streams=tiny_streams(clock=1.0, melody=True),
    )
    training = StageTraining(part, optimizer=adam, warmup_steps=5, ema_decay=0.9)
    trainer = make_trainer(tmp_path, 80, gradient_clip_val=1.0)
    trainer.fit(training, DataLoader(Tunes(320), batch_size=4), DataLoader(Tunes(8), batch_size=4))
    assert trainer.callback_metrics["val/loss"] < 0.02
    # Nobody can know better than by chance which of two it is, once in nine tokens
    assert trainer.callback_metrics["val/loss_without_melody"] > math.log(2) / 9 - 1e-4
    for song in range(2):
        conditions = {name: Tunes(2)[song][name][None] for name in ("mulan", "melody")}
        drawn = sample_codes(training.part.eval(), conditions, frames=9, temperature=0)
        assert torch.equal(drawn[0], Tunes(2)[song]["semantic"])


def test_the_loss_is_a_mean_over_codes_whatever_the_length() -> None:
    stage = make_stage().eval()
    torch.nn.init.zeros_(stage.head.weight)  # every code equally likely
    for frames in (4, 8):
        codes = stage.layout.pick(
            {
                "mulan": torch.zeros(2, 2, 1, dtype=torch.int64),
                "semantic": torch.zeros(2, 1, frames // 2, dtype=torch.int64),
                "acoustic": torch.randint(SIZE, (2, 4, frames)),
            }
        )
        torch.testing.assert_close(level_losses(stage, codes), torch.full((3,), float(SIZE)).log())


def test_a_run_begins_at_the_tokenizers_codebooks_and_so_does_its_average(tmp_path: Path) -> None:
    training = StageTraining(make_stage(), optimizer=adam)
    trainer = make_trainer(tmp_path, 0)
    trainer.datamodule = SimpleNamespace(codebooks={"acoustic": torch.randn(4, SIZE, 5)})
    training.trainer = trainer
    training.setup("fit")
    ids = ids_of(training.part.layout, training.part.layout.target, 0)
    for stage in (training.part, training.average):
        own = stage.embedding.weight[ids.start : ids.stop]
        apart, wanted = torch.pdist(own), torch.pdist(trainer.datamodule.codebooks["acoustic"][0])
        torch.testing.assert_close(apart / apart.mean(), wanted / wanted.mean(), atol=1e-3, rtol=1e-3)


def test_the_rate_rises_then_falls_to_its_last_share() -> None:
    training = StageTraining(make_stage(), warmup_steps=10, final_rate=0.1)
    training.trainer = lightning.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu")
    rates = [training.rate(step, 110) for step in range(111)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.55)
    assert rates[110] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_a_run_without_an_end_is_refused(tmp_path: Path) -> None:
    trainer = make_trainer(tmp_path, -1)
    with pytest.raises(ValueError, match="set trainer"):
        trainer.fit(StageTraining(make_stage(), optimizer=adam), songs())


def test_the_rate_has_fallen_when_the_time_is_over(tmp_path: Path) -> None:
    training = StageTraining(make_stage(), optimizer=adam, warmup_steps=1)
    trainer = make_trainer(tmp_path, -1, max_time={"seconds": 1})
    trainer.fit(training, songs())
    assert training.rate(10, float("inf")) < 0.1


@pytest.mark.parametrize("melody", [False, True], ids=["plain", "melody"])
@pytest.mark.parametrize("name", ["semantic", "coarse", "fine"])
def test_the_recipe_trains_a_stage_from_a_token_store_and_keeps_it(
    name: str, melody: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.argv", ["musiclm"])  # Lightning CLI warns when pytest's arguments stand there
    monkeypatch.setenv("JSONARGPARSE_DEPRECATION_WARNINGS", "off")  # Lightning CLI calls what it deprecates
    torch.manual_seed(0)
    make_token_store(tmp_path / "tokens", melody=melody)
    configs = [f"--config={CONFIGS / f'{name}.yaml'}", f"--config={CONFIGS / 'tiny' / f'{name}.yaml'}"]
    tokens, root = f"--data.init_args.tokens={tmp_path / 'tokens'}", tmp_path / "runs" / name
    main(["fit", *configs, tokens, f"--trainer.default_root_dir={root}"])
    trained_on = (
        Bundle(root / "part").components[f"{name}_stage"].trained_on
    )  # only what made the tokens it reads
    sources = {
        "semantic": ["semantic_quantizer"],
        "coarse": ["semantic_quantizer", "codec"],
        "fine": ["codec"],
    }
    tunes = ["melody_embedding", "melody_quantizer"] if melody and name != "fine" else []
    assert trained_on == dict.fromkeys([*sources[name], *tunes], "0123")
    stage = load_component(root / "part")
    assert ("melody" in [segment.name for segment in stage.layout.conditions]) == bool(tunes)
    conditions = {
        segment.name: torch.zeros(1, segment.levels, 10 if segment.frame_rate else 1, dtype=torch.int64)
        for segment in stage.layout.conditions
    }
    drawn = sample_codes(stage, conditions, frames=10, generator=torch.Generator().manual_seed(0))
    assert drawn.shape == (1, stage.layout.target.levels, 10)
