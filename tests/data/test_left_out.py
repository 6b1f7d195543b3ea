"""The report of what a job leaves out."""

from pathlib import Path

import pytest

from musiclm.data.left_out import NAMED, Report, reason_of
from musiclm.data.sources import Recording


def rows(folder: Path) -> list[list[str]]:
    text = (folder / "left_out.tsv").read_text(encoding="utf-8")
    return [line.split("\t") for line in text.splitlines()]


def test_the_table_names_each_file_with_its_reason_whatever_it_is_called(tmp_path: Path) -> None:
    report = Report(tmp_path / "run")
    names = ("a.wav", "tab\tnew\nline.wav", "mod\udce0.wav", "日本.wav", "back\\slash.wav", "esc\x1b[2J.wav")
    for name in names:
        report.leave_out(Path(name), ValueError(f"no\taudio\nin {name} at all"))
    report.warn(Path("odd.wav"), "silent")
    report.close(3)
    header, *lines = rows(tmp_path / "run")
    assert header == ["path", "reason"]
    assert all(len(line) == 2 for line in lines)
    assert [name for name, _ in lines] == [
        "a.wav", "tab\\tnew\\nline.wav", "mod\\xe0.wav", "日本.wav", "back\\\\slash.wav", "esc\\x1b[2J.wav",
        "odd.wav",
    ]  # fmt: skip
    assert lines[0][1] == "no audio in it at all"
    assert lines[-1][1] == "taken, but silent"


def test_the_last_line_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = Report(tmp_path)
    for number in range(12):
        report.leave_out(Path(f"{number}.wav"), "no audio")
    report.close(10_214)
    said = capsys.readouterr().err.splitlines()
    assert said[0] == "left out: 0.wav: no audio"
    assert said[-1] == f"10,214 recordings, 12 left out: see {tmp_path}/left_out.tsv"


def test_the_terminal_names_some_and_the_table_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folder, lines in ((tmp_path, NAMED + 1), (None, 500)):
        report = Report(folder)
        for number in range(500):
            report.leave_out(Path(f"{number}.wav"), "no audio")
        assert len(capsys.readouterr().err.splitlines()) == lines
        report.write()
    assert len(rows(tmp_path)) == 501


def test_a_table_of_a_run_before_goes_when_nothing_is_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = Report(tmp_path)
    report.leave_out(Path("a.wav"), "no audio")
    report.close(1)
    capsys.readouterr()
    Report(tmp_path).close(2)
    assert list(tmp_path.iterdir()) == []
    assert capsys.readouterr().err == ""


def test_strict_makes_an_error_of_what_is_left_out_and_not_of_warnings(tmp_path: Path) -> None:
    report = Report(tmp_path, strict=True)
    report.warn(Path("odd.wav"), "silent")
    report.close(1)
    report.leave_out(Path("a.wav"), "no audio")
    with pytest.raises(ValueError, match=r"1 are left out: see .*left_out\.tsv"):
        report.close(1)
    assert len(rows(tmp_path)) == 3


def test_what_cannot_be_read_is_left_out_and_the_others_go_on() -> None:
    recordings = [Recording(name, Path(name), 1.0, "unknown", "train") for name in "abc"]

    def read(recording: Recording) -> str:
        if recording.id == "b":
            raise ValueError("no more")
        return recording.id.upper()

    report = Report()
    assert [value for _, value in report.each(recordings, read)] == ["A", "C"]
    assert [entry.path.name for entry in report.left_out] == ["b"]
    assert report.remaining(recordings) == [recordings[0], recordings[2]]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (ValueError("two\nlines"), "two lines"),
        (OSError(13, "Permission denied"), "Permission denied"),
        (RuntimeError("kernel size"), "RuntimeError: kernel size"),
        (MemoryError(), "MemoryError"),
    ],
)
def test_a_reason_is_one_line_without_a_traceback(error: Exception, reason: str) -> None:
    assert reason_of(error) == reason
