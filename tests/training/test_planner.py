"""Training of the planner: from YAML to a component; a word comes to mean a meter; a resumed run goes on."""

from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
import torch
from torch.nn import functional

from musiclm.bundle import Bundle, load_component
from musiclm.cli import main
from musiclm.data.plans import Plans
from musiclm.data.sources.corpus_table import read_table
from musiclm.score.controls import Controls
from musiclm.score.notation import read_bars, read_key
from musiclm.score.plan import Plan, Section
from musiclm.score.plan_tokens import FIRST, plan_of_tokens
from musiclm.score.planner import Planner, words_of
from musiclm.training.planner import PlannerTraining
from tests.score.plan_store import make_plan_store
from tests.tiny import quiet_trainer

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*Checkpoint directory.*exists and is not empty.*"),
]
CONFIGS = Path(__file__).parents[2] / "configs"


def tune(meter: int) -> Plan:
    return Plan((Section(read_bars("C F G C"), 120.0, meter, read_key("C"), drums=meter == 4),))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    plans = [(tune(3), "a waltz"), (tune(4), "a march")] * 2
    make_plan_store(tmp_path / "tokens", plans, held_out=2)
    return tmp_path / "tokens"


def test_the_recipe_trains_a_planner_from_a_token_store_and_keeps_it(folder: Path, tmp_path: Path) -> None:
    layers = [f"--config={CONFIGS / 'planner.yaml'}", f"--config={CONFIGS / 'tiny' / 'planner.yaml'}"]
    sizes = "--model.init_args.part.init_args.dimension=4"
    main(["fit", *layers, sizes, f"--tokens={folder}", f"--out={tmp_path / 'run'}"])
    bundle = Bundle(tmp_path / "run" / "part")
    assert list(bundle.components) == ["planner"]
    assert bundle.component("planner").trained_on == {"joint_embedding": "4567"}
    planner = load_component(bundle.path)
    assert isinstance(planner, Planner)
    plan = planner.draw("a waltz", torch.zeros(4), Controls(), generator=torch.Generator().manual_seed(0))
    assert plan.seconds > 0


def test_a_planner_of_another_embedding_is_refused(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    layers = ["--config", f"{CONFIGS / 'planner.yaml'}", "--config", f"{CONFIGS / 'tiny' / 'planner.yaml'}"]
    with pytest.raises(SystemExit) as stopped:
        main(["fit", *layers, "--tokens", str(folder), "--out", str(tmp_path / "run")])
    assert stopped.value.code == 2
    assert "add --model.init_args.part.init_args.dimension 4" in capsys.readouterr().err


@pytest.mark.parametrize("known_by", ["words", "embedding"])
def test_a_word_or_an_embedding_comes_to_mean_a_meter(known_by: str, folder: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    left_out = {"words_dropout": float(known_by != "words"), "embedding_dropout": float(known_by == "words")}
    training = PlannerTraining(
        Planner(4, width=16, layers=1, heads=2, buckets=64, dropout=0.0),
        optimizer=lambda parameters: torch.optim.AdamW(parameters, lr=0.02),
        warmup_steps=1, noise=0.0, **left_out,
    )  # fmt: skip
    data = Plans(folder, batch_size=8, plans_per_epoch=240, validation_plans=4)
    trainer = quiet_trainer(tmp_path, 1, enable_checkpointing=False, num_sanity_val_steps=0)
    trainer.fit(training, data)
    figures = {name: float(value) for name, value in trainer.callback_metrics.items()}
    assert {"val/loss", "val/loss_untold", "val/meter", "val/chord", "train/loss"} <= figures.keys()
    training.part.eval()
    for plan, caption in ((tune(3), "a waltz"), (tune(4), "a march")):
        row = next(each for each in data.split("train") if each.captions == (caption,))
        words = words_of(caption if known_by == "words" else "", 64)
        embedding = (
            torch.zeros(1, 4) if known_by == "words" else functional.normalize(row.embedding[None], dim=1)
        )
        tempo = torch.tensor([row.tokens[:1]])
        logits = training.part(training.part.context([words], embedding), tempo)[0, -1]
        assert int(logits.argmax()) == FIRST["meter"] + plan.sections[0].meter


def test_labels_of_music_that_nobody_has_played_are_learned_beside_the_store(
    folder: Path, tmp_path: Path
) -> None:
    unplayed = tmp_path / "labels"
    main(["corpus", "labels", "--hours", "0.3", "--seed", "5", "--out", str(unplayed)])
    data = Plans(folder, unplayed, batch_size=8)
    rows = {row.captions: row for row in read_table(unplayed)}
    for name in ("train", "valid"):
        labelled = [each for each in data.split(name) if each.embedding is None]
        assert labelled
        assert all(rows[each.captions].split == name for each in labelled)
        assert len(data.split(name)) == 2 + len(labelled)
    first = next(each for each in data.split("train") if each.embedding is None)
    drawn = plan_of_tokens(first.tokens).sections[0]
    labels = rows[first.captions].labels
    assert drawn.bpm == pytest.approx(labels["tempo"], rel=0.011)
    assert (drawn.meter, str(drawn.key)) == (labels["beats_per_bar"], labels["key"])
    assert drawn.drums == labels["drums"]
    batch = next(iter(data.train_dataloader()))
    assert batch["embedding"].shape == (8, 4)
    assert not batch["embedding"].any(dim=1).all()
    assert batch["caption"]
    assert all(batch["caption"])


def test_a_row_of_labels_that_cannot_be_is_left_out_and_counted(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = {"tempo": 120.0, "beats_per_bar": 4, "seconds": 30.0, "split": "train", "captions": ["a march"]}
    rows = [good, good | {"tempo": -3.0}, good | {"seconds": None}, good | {"tempo": None}]
    table = [{"id": str(n), "path": f"{n}.flac"} | row for n, row in enumerate(rows)]
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(table), tmp_path / "corpus.parquet")
    assert len(Plans(folder, tmp_path).split("train")) == 3  # two of the store
    assert "1.flac: expected a tempo of 1 to 1000 bpm, got -3" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match=r"^expected a table of recordings, [^\n]+$"):
        Plans(folder, tmp_path / "nothing").split("train")


def test_shares_that_are_none_are_refused() -> None:
    for wrong in ({"words_dropout": 1.5}, {"embedding_dropout": -0.1}, {"noise": -1.0}):
        with pytest.raises(ValueError, match=r"^expected words_dropout and embedding_dropout in [^\n]+$"):
            PlannerTraining(Planner(4, width=8, layers=1, heads=1, buckets=8), **wrong)


def test_the_end_of_a_shorter_plan_is_learned_and_nothing_after_it() -> None:
    torch.manual_seed(0)
    training = PlannerTraining(Planner(4, width=16, layers=1, heads=2, buckets=8).eval())
    row = torch.randint(0, 90, (1, 6))
    padded = torch.cat([row, torch.full((1, 3), -1)], dim=1)
    alone = training._losses(row, ["a"], torch.zeros(1, 4))
    filled = training._losses(padded, ["a"], torch.zeros(1, 4))
    torch.testing.assert_close(alone, filled)
    assert training._kinds(padded).tolist() == [0, 1, 2, 3, 4, 5]
