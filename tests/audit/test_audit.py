"""The whole audit on tiny stages: what was learned by heart is found, what was not is not."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from musiclm.audit.audit import audit
from musiclm.audit.canaries import plant
from musiclm.audit.continuation import CONTINUATION
from musiclm.cli import main
from tests.audit.tiny_audit import learn, make_store, songs
from tests.tiny import make_token_store

pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore:.*does not have many workers.*"),
    pytest.mark.filterwarnings("ignore:.*`train_dataloader` does not have.*"),
]
COUNT = 12  # recordings to learn by heart
SHORT = [0, 25, 50]  # tokens shown
FEW = {"negatives": 200, "false_positive_rate": 0.1, "prompt_tokens": SHORT}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Recordings to learn by heart, and some of the same style held out."""
    return make_store(tmp_path_factory.mktemp("audit") / "tokens", songs(COUNT + 8, bars=40), held_out=8)


@pytest.fixture(scope="module")
def stage(store: Path) -> Path:
    return learn(store, store.parent / "run", steps=200, batch_size=COUNT)


@pytest.fixture(scope="module")
def report(store: Path, stage: Path) -> dict[str, Any]:
    audit(store, store.parent / "report", str(stage), examples=COUNT, **FEW)
    return json.loads((store.parent / "report" / "report.json").read_text())


def rate(report: dict[str, Any], of: str, prompt_tokens: int, measure: str) -> float:
    """Of greedy continuations."""
    (row,) = (
        row
        for row in report["rates"]
        if (row["set"], row["decoding"], row["prompt_tokens"]) == (of, "greedy", prompt_tokens)
    )
    return row[measure]["rate"]


def test_what_was_learned_by_heart_is_found_and_what_was_not_is_not(report: dict[str, Any]) -> None:
    assert rate(report, "training", 50, "exact") > 0.9
    assert rate(report, "held-out", 50, "exact") < 0.01
    for shown in (25, 50):
        assert rate(report, "training", shown, "approximate") > 0.9
        assert rate(report, "held-out", shown, "approximate") < 0.2


def test_the_search_finds_the_recording_itself(report: dict[str, Any]) -> None:
    found = {
        row["set"]: row
        for row in report["search"]["found"]
        if (row["decoding"], row["prompt_tokens"]) == ("greedy", 50)
    }
    assert found["training"]["any_recording"]["rate"] > 0.9
    assert found["training"]["another_recording"]["rate"] < 0.5
    held_out = found["held-out"]
    assert held_out["any_recording"] == held_out["another_recording"]  # it has no recording of its own there
    assert held_out["any_recording"]["rate"] < found["training"]["any_recording"]["rate"]


def test_planted_copies_cost_more_the_more_of_them_was_replaced(report: dict[str, Any]) -> None:
    power = report["power"]
    for kind in ("near", "far"):
        costs = power[f"{kind}_cost"]
        assert (np.diff(costs) > -0.01).all()  # the mean of a dozen pairs; each step adds 0.06 on average
        assert costs[-1] > costs[0] + 0.5
        assert power[kind][0] == 1.0
    assert all(near <= far for near, far in zip(power["near_cost"], power["far_cost"], strict=True))


def test_the_closest_pairs_are_exact_copies(report: dict[str, Any]) -> None:
    assert len(report["closest"]) == 10
    # Bars in another order have the same histogram, and cost as little.
    assert sum(pair["generated"] == pair["target"] for pair in report["closest"]) >= 7
    assert len({pair["id"] for pair in report["closest"]}) == 10
    assert report["audio"] is None  # a stage alone makes no sound


def test_a_killed_audit_goes_on_and_finds_the_same(
    store: Path, stage: Path, report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import musiclm.audit.continuation as module

    made: list[int] = []
    generate = module.sample_codes

    def dying(*arguments: Any, **values: Any) -> torch.Tensor:
        made.append(values["frames"])
        if len(made) == 4:
            raise KeyboardInterrupt
        return generate(*arguments, **values)

    monkeypatch.setattr(module, "sample_codes", dying)
    with pytest.raises(KeyboardInterrupt):
        audit(store, tmp_path / "report", str(stage), examples=COUNT, **FEW)
    assert not list((tmp_path / "report").glob("report.*"))
    audit(store, tmp_path / "report", str(stage), examples=COUNT, **FEW)
    assert len(made) == 4 + 12 - 3  # of 2 sets, 2 decodings, 3 prompts; three were kept
    again = json.loads((tmp_path / "report" / "report.json").read_text())
    for key in set(report) - {"made"}:
        assert again[key] == report[key], key
    assert not (tmp_path / "report" / ".work").exists()


def test_music_that_was_repeated_is_learned_first(tmp_path: Path) -> None:
    tokens = make_store(tmp_path / "tokens", songs(2 * COUNT), held_out=COUNT)
    plant(tokens, tmp_path / "planted", repeats=(1, 4, 64), each=4)
    stage = learn(tmp_path / "planted", tmp_path / "run", steps=120, batch_size=10)
    audit(tmp_path / "planted", tmp_path / "report", str(stage), examples=COUNT, search=False, **FEW)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    curve = {row["repeats"]: row["exact"]["rate"] for row in report["canaries"]}
    assert list(curve) == [1, 4, 64]
    assert curve[1] <= curve[4] <= curve[64]
    assert curve[64] - curve[1] >= 0.5
    # They count in no other figure: the rest of the music comes once.
    assert {row["stratum"] for row in report["by_duplicates"]} == {"1"}
    assert report["duplicates"]["identical_recordings"] == []


def refused(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as stop:
        main([str(word) for word in ("audit", *words)])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_mistakes_are_one_line_and_leave_nothing(
    store: Path, stage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "report"
    common = ("--tokens", store, "--out", out, "--bundle", stage, "--prompt_tokens", SHORT)
    assert "expected 2000 stretches of 7 s" in refused(capsys, *common)
    assert f"they have {COUNT}" in refused(capsys, *common)
    assert "clear_of_end" in refused(capsys, *common, "--clear_of_end", -1)
    line = refused(capsys, *common, "--examples", COUNT)
    assert "expected 400000 pairs of unrelated recordings" in line
    assert "expected at least 59914" in refused(capsys, *common, "--examples", COUNT, "--negatives", 500)
    assert "between 0 and 1" in refused(capsys, *common, "--examples", COUNT, "--false_positive_rate", 0)
    assert "examples and negatives of 1 or more" in refused(capsys, *common, "--examples", 0)
    assert "distinct prompt_tokens" in refused(capsys, *common, "--prompt_tokens", "[25,25]")
    assert "expected a temperature above 0" in refused(capsys, *common, "--temperature", 0)
    assert "seed" in refused(capsys, *common, "--seed", -1)
    assert "expected a token store" in refused(capsys, "--tokens", tmp_path, "--bundle", stage)
    assert "expected a bundle" in refused(capsys, "--tokens", store, "--bundle", tmp_path / "none")
    (tmp_path / "file").write_text("")
    assert "is a file" in refused(capsys, "--tokens", store, "--bundle", stage, "--out", tmp_path / "file")
    damaged = shutil.copytree(stage, tmp_path / "damaged")
    (damaged / "semantic_stage.safetensors").write_bytes(b"")
    assert "truncated or altered" in refused(capsys, "--tokens", store, "--bundle", damaged)
    assert not list(out.glob("report*"))


def test_tokens_of_other_tokenizers_are_refused(
    stage: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_token_store(tmp_path / "other", [15.0] * 4)
    words = (tmp_path / "other" / "store.yaml").read_text()
    (tmp_path / "other" / "store.yaml").write_text(
        words.replace("semantic_quantizer: '0123'", "semantic_quantizer: another")
    )
    line = refused(capsys, "--tokens", tmp_path / "other", "--bundle", stage)
    assert "made by another semantic_quantizer" in line


def test_a_store_without_held_out_music_has_no_control(stage: Path, tmp_path: Path) -> None:
    alone = make_store(tmp_path / "tokens", songs(COUNT, bars=40), held_out=0)
    audit(alone, tmp_path / "report", str(stage), examples=COUNT, **FEW)
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert {row["set"] for row in report["rates"]} == {"training"}
    assert report["protocol"]["control_examples"] == 0
    assert report["search"]["null"]["from"].startswith("training recordings")


def test_targets_follow_the_prompt(store: Path, report: dict[str, Any]) -> None:
    tokens = {f"piece{index}": song for index, song in enumerate(songs(COUNT + 8, bars=40))}
    for pair in report["closest"]:
        start = round(pair["start"] * 25)
        np.testing.assert_array_equal(pair["target"], tokens[pair["id"]][start : start + CONTINUATION])
