"""`musiclm evaluate labels` compares clips with the recordings of their names."""

import json
from pathlib import Path

import pytest
import torch

from musiclm.audio import Audio
from musiclm.cli import main
from musiclm.evaluate.labelled_clips import corpus_clips
from musiclm.evaluate.labels import Divergence
from tests.tiny import folder_of_tones, melody
from tests.tokenizers import test_passt


def run(*words: object) -> None:
    main(["evaluate", "labels", *map(str, words)])


def test_own_recordings_are_told_from_others() -> None:
    labels = torch.eye(3).clamp(0.05, 0.9)
    windows = {name: labels[None, place].repeat(2, 1) for place, name in enumerate("abc")}
    found = Divergence.of({**windows, "alone": labels}, windows)
    assert found.own.value == pytest.approx(0.0, abs=1e-6)
    assert found.shuffled.value == pytest.approx(0.85 * torch.tensor(0.9 / 0.05).log().item(), rel=1e-6)
    with pytest.raises(ValueError, match="expected 2 clips or more with the names of recordings"):
        Divergence.of({"a": labels}, windows)


def test_the_kld_of_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    test_passt.publish(tmp_path / "passt.pt")
    reference = folder_of_tones(tmp_path / "reference", 3)
    for name in ("same", "other"):
        folder_of_tones(tmp_path / name, 3)
    for index, path in enumerate(sorted((tmp_path / "other").glob("*.wav"))):
        melody(2.0, seed=index).save(path)
    melody(2.0, seed=9).save(tmp_path / "same" / "alone.wav")
    values = []
    for name in ("same", "other"):
        run(
            tmp_path / name,
            "--reference",
            reference,
            "--passt",
            tmp_path / "passt.pt",
            "--out",
            tmp_path / "out",
        )
        report = json.loads((tmp_path / "out" / "labels.json").read_text())
        values.append(report["kld"]["own"]["value"])
        assert report["kld"]["own"]["clips"] == 3
        assert len(report["classifier"]["hash"]) == 16
        assert "KLD by PaSST" in (tmp_path / "out" / "labels.svg").read_text()
    assert values[0] == pytest.approx(0.0, abs=1e-5)
    assert values[1] > 1e-3


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--passt", "none.pt"], "expected published weights at none.pt"),
        ([], "none can be used"),  # the listener wants 5 s
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of_tones(tmp_path / "clips", 2)
    with pytest.raises(SystemExit) as stop:
        run(folder, "--reference", folder, *words)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_without_passt_the_listener_labels_corpus_music(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Real pieces are nearer to themselves than to each other, through 16 bits and 20 dB."""
    for index, clip in enumerate(corpus_clips("valid", 3, 6.0, 0)):
        for name, gain in (("reference", 1.0), ("quiet", 0.1)):
            (tmp_path / name).mkdir(exist_ok=True)
            sound = Audio(gain * clip.audio.waveform, clip.audio.sample_rate)
            sound.save(tmp_path / name / f"clip{index}.wav")
    run(tmp_path / "quiet", "--reference", tmp_path / "reference", "--out", tmp_path / "out")
    kld = json.loads((tmp_path / "out" / "labels.json").read_text())["kld"]
    assert kld["own"]["value"] < 0.5 * kld["shuffled"]["value"]
    assert "KLD by the corpus's listener" in capsys.readouterr().out
