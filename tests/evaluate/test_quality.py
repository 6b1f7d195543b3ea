"""`musiclm evaluate quality` tells like from unlike by every embedding, beside what is real."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from musiclm.audio import Audio
from musiclm.cli import main
from musiclm.evaluate.quality import compare, floor_of
from musiclm.metrics.kernel import kernel_distance
from tests.tiny import SAMPLE_RATE, melody, tone
from tests.tokenizers import test_clap, test_mert, test_vggish


def normal(count: int, *, shift: float = 0.0, seed: int = 0) -> tuple[torch.Tensor, ...]:
    return (torch.randn(count, 8, generator=torch.Generator().manual_seed(seed)) + shift).split(1)


def test_a_shift_is_found_above_the_floor_and_sameness_is_not() -> None:
    reference = normal(60)
    floor = floor_of(reference)
    same, other = compare(normal(60, seed=1), reference), compare(normal(60, shift=1.0, seed=1), reference)
    for name in ("fad", "fad_infinite", "kad"):
        found = {
            key: getattr(each, name) for key, each in (("same", same), ("other", other), ("floor", floor))
        }
        assert found["other"].low > found["floor"].high
        assert found["same"].low <= found["floor"].high
    assert other.fad_infinite.low < 8.0 < other.fad_infinite.high  # 1 in each of 8 dimensions
    assert floor.kad.low < 0 < floor.kad.high


def test_an_interval_holds_what_more_draws_would_give() -> None:
    """As wide as the distances of sets that are drawn anew 30 times spread."""
    first = compare(normal(40, shift=0.7), normal(40, seed=500))
    drawn = [
        kernel_distance(normal(40, shift=0.7, seed=seed), normal(40, seed=500 + seed))
        for seed in range(1, 31)
    ]
    width = first.kad.high - first.kad.low
    assert width == pytest.approx(2 * 1.96 * torch.tensor(drawn).std().item(), rel=0.6)


def test_few_clips_have_no_interval_and_no_floor() -> None:
    few = compare(normal(3), normal(3, seed=1))
    assert math.isfinite(few.kad.value)
    assert math.isnan(few.kad.low)
    assert math.isnan(few.fad_infinite.value)
    assert math.isnan(floor_of(normal(3)).kad.value)
    with pytest.raises(ValueError, match="expected at least 2 clips on both sides, got 1 and 3"):
        compare(normal(1), normal(3))


@pytest.fixture(scope="module")
def music(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of melodies, of others like them, and of steady tones."""
    root = tmp_path_factory.mktemp("quality")
    for name, first in (("reference", 0), ("like", 10)):
        (root / name).mkdir()
        for seed in range(first, first + 6):
            melody(2.5, seed=seed).save(root / name / f"{seed}.wav")
    (root / "unlike").mkdir()
    for index in range(6):
        tone(2.5, pitch=220.0 * 2 ** (index / 12)).save(root / "unlike" / f"{index}.wav")
    Audio(torch.zeros(1, SAMPLE_RATE), SAMPLE_RATE).save(root / "unlike" / "silent.wav")
    return root


@pytest.fixture(scope="module")
def reports(music: Path) -> dict[str, Any]:
    """What is said of clips that are like the reference, and of others, by four embeddings."""
    test_vggish.publish(music / "vggish.pth")
    flags = ["--mel", "--vggish", music / "vggish.pth", "--clap", test_clap.publish(music / "clap"),
             "--mert", test_mert.publish(music / "mert")]  # fmt: skip
    found = {}
    for name in ("like", "unlike"):
        out = music / f"out-{name}"
        words = [music / name, "--reference", music / "reference", "--out", out, *flags]
        main(["evaluate", "quality", *map(str, words)])
        found[name] = json.loads((out / "quality.json").read_text())
        assert "<svg" in (out / "quality.svg").read_text()
    return found


def test_every_embedding_tells_like_from_unlike(reports: dict[str, Any]) -> None:
    names = [result["embedding"]["name"] for result in reports["like"]["results"]]
    assert names == ["joint embedding", "log-mel frames", "VGGish", "CLAP", "MERT"]
    for like, unlike in zip(reports["like"]["results"], reports["unlike"]["results"], strict=True):
        assert len(like["embedding"]["hash"]) == 16
        assert like["embedding"]["hash"] == unlike["embedding"]["hash"]
        assert like["real_against_real"] == unlike["real_against_real"]
        # With weights that have learned nothing, too; six clips leave FAD's value alone to go by.
        assert like["distances"]["kad"]["value"] < unlike["distances"]["kad"]["value"]


def test_what_has_no_sound_is_left_out_once(reports: dict[str, Any]) -> None:
    folder = reports["unlike"]["folders"]["generated"]
    assert folder["recordings"] == 6
    assert [Path(entry["path"]).name for entry in folder["left_out"]] == ["silent.wav"]
    assert reports["unlike"]["format"] == 1


@pytest.mark.parametrize("flag", ["--vggish", "--clap", "--mert"])
def test_weights_that_are_not_there_are_one_line(
    flag: str, music: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "quality", str(music / "like"), "--reference", str(music / "like"), flag, "none"])
    assert stop.value.code == 2
    assert "expected published weights at none" in capsys.readouterr().err.splitlines()[-1]
