"""What is said of folders: mixed sample rates, and what was left out, once."""

from pathlib import Path

import pytest

from musiclm.evaluate.found import Found, say_rates
from tests.tiny import tone


def test_sample_rates_that_differ_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tone(0.5).save(tmp_path / "a.wav")
    one = Found.at([tmp_path])
    say_rates({"generated": one.account(one.recordings)})
    assert capsys.readouterr().out == ""
    tone(0.5, sample_rate=16_000).save(tmp_path / "b.wav")
    both = Found.at([tmp_path])
    say_rates({"generated": both.account(both.recordings)})
    assert "sample rates differ: generated 16000 Hz (1), 24000 Hz (1)" in capsys.readouterr().out


def test_what_is_left_out_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tone(0.5).save(tmp_path / "a.wav")
    (tmp_path / "b.wav").write_bytes(b"nothing")
    found = Found.at([tmp_path])
    for _ in range(3):
        found.close(found.report.remaining(found.recordings))
    assert capsys.readouterr().err.count("1 recording, 1 left out") == 1
    found.report.leave_out(found.recordings[0].path, "silent")
    with pytest.raises(ValueError, match="none can be used"):
        found.close([])


def test_many_places_are_named_by_the_first(tmp_path: Path) -> None:
    paths = [tmp_path / f"{index}.wav" for index in range(5)]
    for index, path in enumerate(paths):
        tone(0.5, pitch=200.0 + index).save(path)
    assert Found.at(paths).name == f"{paths[0]} and 4 more"
    assert Found.at(paths[:2]).name == f"{paths[0]}, {paths[1]}"
