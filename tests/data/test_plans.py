"""Plans of a token store: those of the recordings whose beat is known, with what is said of them."""

from pathlib import Path

import numpy as np
import pytest
import torch

from musiclm.data.plans import Plans, described
from musiclm.data.store import TokenRow, TokenStore
from musiclm.score.notation import read_bars, read_key
from musiclm.score.plan import Plan, Section
from musiclm.score.plan_tokens import plan_of_tokens
from tests.score.plan_store import make_plan_store

TUNE = Plan((Section(read_bars("Am F C G Am F C G"), 120.0, 4, read_key("A minor"), drums=True),))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    plans = [(TUNE, "a march"), (None, "nothing is known"), (TUNE, "another"), (TUNE, "held out")]
    make_plan_store(tmp_path / "tokens", plans, held_out=1)
    return tmp_path / "tokens"


def test_a_row_s_plan_is_what_its_streams_say(folder: Path) -> None:
    first, second, *_ = TokenStore(folder)
    assert described(second) is None
    found = described(first)
    assert found is not None
    back = plan_of_tokens(found.tokens)
    assert [bar for section in back.sections for bar in section.bars] == list(TUNE.sections[0].bars)
    section = back.sections[0]
    assert (section.meter, section.key, section.drums) == (4, read_key("A minor"), True)
    assert abs(section.bpm / 120 - 1) < 0.02
    assert found.captions == ("a march",)
    assert found.embedding.norm() == pytest.approx(1.0)


def test_a_row_of_an_old_store_has_no_plan() -> None:
    streams = {"semantic": np.zeros((1, 50), np.uint16), "mulan": np.ones((2, 4), np.float16)}
    assert described(TokenRow("a", "a.wav", 2.0, "CC0-1.0", "train", [], streams)) is None


def test_batches_are_the_same_for_the_same_seed_and_ends_are_marked(folder: Path) -> None:
    def batch(seed: int) -> dict[str, object]:
        return next(iter(Plans(folder, batch_size=4, plans_per_epoch=8, seed=seed).train_dataloader()))

    first, again = batch(0), batch(0)
    assert torch.equal(first["tokens"], again["tokens"])  # type: ignore[arg-type]
    assert first["caption"] == again["caption"]
    assert set(first["caption"]) <= {"a march", "another"}  # type: ignore[call-overload]
    assert any(batch(seed)["caption"] != first["caption"] for seed in (1, 2, 3))
    assert first["embedding"].shape == (4, 4)  # type: ignore[attr-defined]


def test_shorter_plans_are_filled_up(tmp_path: Path) -> None:
    short = Plan((Section(read_bars("C F"), 120.0, 4, read_key("C"), drums=False),))
    make_plan_store(tmp_path / "tokens", [(TUNE, "long"), (short, "short")])
    batch = next(iter(Plans(tmp_path / "tokens", batch_size=8, plans_per_epoch=8).train_dataloader()))
    lengths = {
        caption: int((row >= 0).sum()) for caption, row in zip(batch["caption"], batch["tokens"], strict=True)
    }
    assert lengths == {"long": 5 + 2 * 8 + 1, "short": 5 + 2 * 2 + 1}


def test_a_store_without_beats_is_refused_and_one_without_held_out_plans_is_not_measured(
    tmp_path: Path,
) -> None:
    make_plan_store(tmp_path / "none", [(None, "nothing")])
    with pytest.raises(ValueError, match=r"^expected [^\n]*recording whose beat is known[^\n]*$"):
        Plans(tmp_path / "none").train_dataloader()
    make_plan_store(tmp_path / "one", [(TUNE, "a march")])
    reason = Plans(tmp_path / "one").unmeasured()
    assert reason is not None
    assert "with a plan is held out" in reason
    with pytest.raises(ValueError, match="batch_size"):
        Plans(tmp_path / "one", batch_size=0)
