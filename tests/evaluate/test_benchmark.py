"""`musiclm evaluate benchmark`: from captions to the table, stopped and gone on with."""

import json
from pathlib import Path
from typing import Any

import pytest

from musiclm.cli import main
from musiclm.generation.pipeline import MusicLM
from tests.tiny import melody
from tests.tiny_model import make_bundle
from tests.tokenizers import test_clap, test_passt, test_vggish

IDS = [f"video{number:06d}" for number in range(5)]
PROMPTS = ["a calm violin melody", "fast techno with drums", "a waltz", "calm violin with drums", "a band"]


def run(*words: object) -> None:
    main(["evaluate", "benchmark", *map(str, words)])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of five captions, of which one lacks its recording, a bundle, and weights as published."""
    root = tmp_path_factory.mktemp("benchmark")
    rows = [f"{id},0,10,{prompt},True" for id, prompt in zip(IDS, PROMPTS, strict=True)]
    (root / "musiccaps.csv").write_text("\n".join(["ytid,start_s,end_s,caption,is_balanced_subset", *rows]))
    (root / "clips").mkdir()
    for seed, id in enumerate(IDS[:4]):
        melody(1.2, seed=seed).save(root / "clips" / f"{id}.wav")
    make_bundle(root)
    test_vggish.publish(root / "vggish.pth")
    test_clap.publish(root / "clap")
    test_passt.publish(root / "passt.pt")
    return root


def words_of(root: Path) -> list[object]:
    return [
        "musiccaps", root / "musiccaps.csv", root / "clips", "--bundle", root / "bundle",
        "--out", root / "out", "--seconds", 1.2, "--vggish", root / "vggish.pth", "--clap", root / "clap",
        "--passt", root / "passt.pt",
    ]  # fmt: skip


@pytest.fixture(scope="module")
def found(root: Path) -> dict[str, Any]:
    """What is said of all captions, after a run that was to stop at the second one."""
    run(*words_of(root), "--num", 2)
    first = {path.name: path.stat().st_mtime_ns for path in (root / "out" / "generated").glob("*.wav")}
    run(*words_of(root))
    report: dict[str, Any] = json.loads((root / "out" / "benchmark.json").read_text())
    report["first"] = first
    return report


def test_every_measure_of_the_table_is_taken(found: dict[str, Any]) -> None:
    assert found["items"] == 4
    assert set(found["distances"]) == set(found["real_against_real"]) == {"joint embedding", "VGGish", "CLAP"}
    assert all(each["fad"]["value"] > 0 for each in found["distances"].values())
    assert found["kld"]["own"]["clips"] == 4
    assert found["kld"]["own"]["value"] > 0
    assert all(-1 <= each["own"]["value"] <= 1 for each in found["agreements"].values())
    assert set(found["agreements"]) == {"joint embedding", "CLAP"}


def test_published_rows_stand_beside_ours_and_are_called_so(found: dict[str, Any]) -> None:
    table = found["table"]
    assert [row[1].split(":")[0] for row in table["rows"]] == ["measured"] + ["published"] * 7
    row = dict(zip(table["head"], table["rows"][3], strict=True))
    assert (row["system"], row["FAD, VGGish"], row["KLD"], row["MCC"]) == ("MusicLM", "4.0", "1.01", "0.51")


def test_the_picture_tells_what_is_published(found: dict[str, Any], root: Path) -> None:
    picture = (root / "out" / "benchmark.svg").read_text()
    assert "KLD (*: published)" in picture
    assert "MusicLM*" in picture


def test_clips_that_are_there_are_not_made_again(found: dict[str, Any], root: Path) -> None:
    folder = root / "out" / "generated"
    assert set(found["first"]) == {f"{id}.wav" for id in IDS[:2]}
    assert {path.name for path in folder.glob("*.wav")} == {f"{id}.wav" for id in IDS[:4]}
    for name, time in found["first"].items():
        assert (folder / name).stat().st_mtime_ns == time
    assert (folder / f"{IDS[1]}.txt").read_text() == f"{PROMPTS[1]}\n"


def test_a_caption_without_its_recording_is_named_in_a_table(found: dict[str, Any], root: Path) -> None:
    assert found["left_out"] == 1
    assert f"{IDS[4]}\tits recording is not there" in (root / "out" / "left_out.tsv").read_text()


def test_a_clip_is_what_its_caption_and_its_rows_seed_make(found: dict[str, Any], root: Path) -> None:
    from musiclm.audio import Audio

    assert found["seed"] == 0
    model = MusicLM.from_pretrained(root / "bundle")
    model.generate(PROMPTS[3], seconds=1.2, seed=3).save(root / "again.wav")
    made = Audio.load(root / "out" / "generated" / f"{IDS[3]}.wav")
    assert made.waveform.equal(Audio.load(root / "again.wav").waveform)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (["--seconds", "2"], "with seconds 1.2, got 2.0"),
        (["--seed", "7"], "with seed 0, got 7"),
        (["--num", "-1"], "expected num of 0 or more"),
        (["--passt", "none.pt"], "expected published weights at none.pt"),
    ],
)
@pytest.mark.usefixtures("found")
def test_a_mistake_is_one_line(
    changed: list[str], said: str, root: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(root)
    with pytest.raises(SystemExit) as stop:
        run(*words_of(root), *changed)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
