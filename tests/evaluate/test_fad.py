"""`musiclm evaluate fad` tells like from unlike."""

from pathlib import Path

import pytest

from musiclm.cli import main
from tests.tiny import folder_of_tones, melody


def test_the_command_tells_like_from_unlike(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder in ("music", "like"):
        (tmp_path / folder).mkdir()
    for seed in range(3):
        melody(12.0, seed=seed).save(tmp_path / "music" / f"{seed}.wav")
        melody(12.0, seed=10 + seed).save(tmp_path / "like" / f"{seed}.wav")
    folder_of_tones(tmp_path / "unlike", 3, seconds=12.0)
    distances = []
    for folder in ("like", "unlike"):
        main(["evaluate", "fad", str(tmp_path / folder), "--reference", str(tmp_path / "music")])
        printed = capsys.readouterr()
        distances.append(float(printed.out.split()[1]))
        assert "musiclm evaluate quality" in printed.err
    assert distances[0] < 0.7 * distances[1]


def test_a_reference_that_is_not_there_is_said_before_anything_is_embedded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_of_tones(tmp_path / "music", 1)
    monkeypatch.setattr("musiclm.evaluate.fad.embedders", lambda *_: pytest.fail("embedded in vain"))
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "fad", str(tmp_path / "music"), "--reference", str(tmp_path / "none")])
    assert stop.value.code == 2
    assert "none" in capsys.readouterr().err.splitlines()[-1]
