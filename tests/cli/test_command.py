"""The command line: help at once, and one line with exit code 2 for a user's mistake."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from musiclm.cli.command import COMMANDS, main


def _fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(list(arguments))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert "Traceback" not in error
    return error


def test_help_names_every_command_without_importing_torch() -> None:
    code = """
import sys
from musiclm.cli import main
try:
    main(["--help"])
except SystemExit as stop:
    assert not stop.code
assert "torch" not in sys.modules
"""
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert all(" ".join(words) in shown for words in COMMANDS)


@pytest.mark.parametrize("words", [words for words in COMMANDS if words[0] not in ("fit", "validate")])
def test_every_command_explains_itself(words: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main([*words, "--help"])
    assert not stop.value.code
    assert f"musiclm {' '.join(words)}" in capsys.readouterr().out


CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["generate", ""], "empty prompt"),
        (["generate", "   "], "empty prompt"),
        (["generate", "x" * 10_000], "at most 2000 characters"),
        (["generate", "a song", "--seconds", "0"], "seconds above 0"),
        (["generate", "a song", "--seconds", "-1"], "seconds above 0"),
        (["generate", "a song", "--seconds", "nan"], "seconds"),
        (["generate", "a song", "--seconds", "1e9"], "at most 600"),
        (["generate", "a song", "--bundle", "no-such-bundle"], "no-such-bundle"),
        (["generate", "a song", "--out", "no/such/folder/a.wav"], "existing folder"),
        (["generate", "a song", "--out", "a.xyz"], r".wav or .flac"),
        (["generate", "a", "calm", "violin"], "put it in quotes"),
        (["generate", "a song", "--seed", "99999999999999999999"], "expected a seed"),
        (["generate", "a song", "--precision", "int4"], "int4"),
        (["fit"], "expected a configuration: --config"),
        (["fit", "configs/semantic.yaml"], "expected --config before"),
        (["fit", "--config", f"{CONFIGS}/semantic.yaml"], "expected --tokens FOLDER"),
        (
            ["fit", "--config", f"{CONFIGS}/tiny/coarse.yaml", "--data.init_args.tokens=x"],
            "before its layers",
        ),
        (["tokenize", "no-such-folder"], "found nothing"),
        (["bundle", "pack", "default", "--settings", "no-such.yaml"], "no-such.yaml"),
        (
            ["bundle", "pack", "default", "--settings", f"{CONFIGS}/coarse.yaml"],
            "expected settings of components",
        ),
        (["bundle", "pack", "default", "--settings", f"{CONFIGS.parent}/Makefile"], "expected YAML"),
        (["bundle", "info", "no-such-bundle"], "no-such-bundle"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(
    arguments: list[str], words: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    error = _fails(capsys, *arguments)
    assert words in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [["--help"], ["bundle", "--help"], []])
def test_help_names_every_command(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert not stop.value.code
    said = capsys.readouterr().out
    assert all(" ".join(command) in said for command in COMMANDS)


def test_there_is_no_command_for_a_test_split_that_no_corpus_has(capsys: pytest.CaptureFixture[str]) -> None:
    said = _fails(capsys, "test", "--config", "semantic.yaml")
    assert "expected a command, got 'test --config'" in said
    assert "measure a part on held-out recordings" in said


def test_an_unknown_command_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert "corpus render" in _fails(capsys, "corpus", "rendr")


def test_a_seed_that_is_no_number_is_one_mistake(capsys: pytest.CaptureFixture[str]) -> None:
    assert "seed" in _fails(capsys, "generate", "a song", "--seed", "one")


def test_what_was_expected_is_said_in_the_users_words(capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["audit", "--prompt_tokens", "0,25"], "expected a list such as [0,25], got 0,25"),
        (["generate", "a tune", "--seconds", "ten"], "--seconds: expected a number, got ten"),
        (["generate", "a tune", "--format", "mp3"], "--format: expected one of wav, raw, got mp3"),
    ):
        with pytest.raises(SystemExit):
            main(words)
        (line,) = capsys.readouterr().err.splitlines()
        assert said in line


@pytest.mark.parametrize(
    ("words", "closed"),
    [(["--help"], "stdout"), (["generate", ""], "stderr")],
)
def test_a_reader_that_leaves_ends_a_command_by_sigpipe_and_without_a_word(
    words: list[str], closed: str
) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, closed: writer}
    done = subprocess.run([sys.executable, "-m", "musiclm.cli", *words], check=False, **streams)
    os.close(writer)
    assert done.returncode == -signal.SIGPIPE
    assert not done.stdout
    assert not done.stderr


def test_what_standard_output_does_not_take_is_one_line() -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "musiclm.cli", "--help"]
        done = subprocess.run(command, check=False, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "No space left" in line


def test_a_package_of_an_extra_that_is_missing_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def absent(module: str) -> None:
        raise ModuleNotFoundError("No module named 'lightning'", name="lightning.pytorch")

    monkeypatch.setattr("musiclm.cli.command.importlib.import_module", absent)
    with pytest.raises(SystemExit) as stop:
        main(["fit", "--config", "configs/semantic.yaml"])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line == (
        "musiclm fit: expected the package lightning, it is not installed: pip install 'musiclm[train]'"
    )
