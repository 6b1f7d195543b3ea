"""`musiclm evaluate text` tells own captions from others', with MuLan and with CLAP."""

import json
from pathlib import Path

import pytest
import torch

from musiclm.cli import main
from musiclm.evaluate.text import Agreement
from tests.tiny import folder_of_tones, melody
from tests.tokenizers import test_clap


def run(*words: object) -> None:
    main(["evaluate", "text", *map(str, words)])


def test_the_mean_cosine_of_pairs_and_of_all_others() -> None:
    audio = torch.eye(3)
    text = torch.tensor([[1.0, 0, 0], [0, 0.6, 0.8], [0, 0.8, 0.6]])
    found = Agreement.of(audio, text)
    assert found.own.value == pytest.approx((1 + 0.6 + 0.6) / 3)
    assert found.shuffled.value == pytest.approx((0 + 0.4 + 0.4) / 3)
    with pytest.raises(ValueError, match="expected 2 clips with captions or more, got 1"):
        Agreement.of(audio[:1], text[:1])


def test_the_scores_of_two_models_beside_real_music(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    generated, reference = (folder_of_tones(tmp_path / name, 6) for name in ("generated", "reference"))
    melody(2.0, seed=0).save(generated / "untold.wav")
    clap = test_clap.publish(tmp_path / "clap")
    run(generated, "--reference", reference, "--clap", clap, "--out", tmp_path / "out")
    said = capsys.readouterr()
    assert "untold.wav: it has no caption" in said.err
    report = json.loads((tmp_path / "out" / "text.json").read_text())
    assert [result["score"] for result in report["results"]] == ["MCC", "CLAP score"]
    for result in report["results"]:
        assert result["generated"] == result["reference"]  # the same clips, but for the one that is left out
        assert result["generated"]["own"]["clips"] == 6
        assert -1 <= result["generated"]["own"]["value"] <= 1
        assert result["generated"]["shuffled"]["low"] <= result["generated"]["shuffled"]["value"]
    assert len(report["table"]["rows"]) == 4
    assert "CLAP score (CLAP)" in (tmp_path / "out" / "text.svg").read_text()
    assert report["folders"]["generated"]["recordings"] == 6


@pytest.mark.parametrize(
    ("count", "said"), [(0, "none can be used"), (1, "expected 2 clips with captions or more, got 1")]
)
def test_too_few_captions_are_one_line(
    count: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of_tones(tmp_path / "clips", 2)
    for file in sorted(folder.glob("*.txt"))[count:]:
        file.unlink()
    with pytest.raises(SystemExit) as stop:
        run(folder)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
