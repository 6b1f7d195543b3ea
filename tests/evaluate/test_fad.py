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
        distances.append(float(capsys.readouterr().out.split()[1]))
    assert distances[0] < 0.7 * distances[1]
