"""The README's commands work as they stand there."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from musiclm import Audio
from tests.tiny import folder_of_tones, melody

if TYPE_CHECKING:
    from encodec import EncodecModel

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
pytestmark = pytest.mark.slow


def block(heading: str, language: str) -> str:
    """The first code block of a language under a heading."""
    section = README.split(heading, 1)[1]
    return re.search(rf"```{language}\n(.*?)```", section, flags=re.DOTALL).group(1)


Shell = Callable[[str, Path], list[str]]


@pytest.fixture
def run(warm: Path) -> Shell:
    """Runs commands in a folder, `musiclm` being the one under test; the lines that they print."""

    def run(commands: str, folder: Path) -> list[str]:
        done = subprocess.run(
            ["bash", "-e", "-c", commands],
            cwd=folder, env={**os.environ, "PATH": f"{warm}{os.pathsep}{os.environ['PATH']}"},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def test_the_two_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    # In code alone, a line of a block or between backticks: prose makes the sound, too.
    targets = re.findall(r"(?:^|`)make ([\w-]+)", README, flags=re.MULTILINE)
    assert {"generate", "test", "default-model", "check-default"} <= set(targets)
    for target in targets:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


def test_make_generate_hands_the_prompt_on_whatever_is_in_it(tmp_path: Path) -> None:
    prompt = 'it\'s $5 "loud" #1 -- & fast; $(5 $(shell touch made) `touch made`'
    command = tmp_path / "musiclm"  # in the real one's place: prints what it was given
    command.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    command.chmod(0o755)
    shown = subprocess.run(
        ["make", "--no-print-directory", "-f", ROOT / "Makefile", "generate",
         f"PROMPT={prompt}", "READY=", f"BIN={tmp_path}"],
        cwd=tmp_path, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert shown.splitlines() == [
        "generate",
        "--seconds",
        "10",
        "--seed",
        "0",
        "--out",
        "out.wav",
        "--",
        prompt,
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["musiclm"]


def test_a_prompt_without_quotes_is_noticed_before_anything_is_made(tmp_path: Path) -> None:
    words = [
        "make",
        "-f",
        ROOT / "Makefile",
        "generate",
        "PROMPT=a",
        "calm",
        "violin",
        "READY=",
        "BIN=nowhere",
    ]
    run = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 2
    assert 'expected the prompt in quotes: make generate PROMPT="a calm violin"' in run.stderr
    assert "nowhere" not in run.stderr  # the command was not reached


def test_the_python_example_makes_music(tmp_path: Path, warm: Path) -> None:
    code = block("In Python", "python").replace("seconds=10", "seconds=1")
    subprocess.run([warm / "python", "-c", code], cwd=tmp_path, check=True)
    assert (tmp_path / "violin.wav").stat().st_size > 40_000


def test_more_forms_work_as_written(run: Shell, tmp_path: Path) -> None:
    commands = block("## More forms", "sh").replace("--seconds 60", "--seconds 3")
    commands = commands.replace("--seconds 30", "--seconds 2").replace("--seconds 20", "--seconds 1")
    commands = commands.replace("--bpm 100", "--seconds 1 --bpm 100")
    commands = commands.replace("--from 0:20 --to 0:25", "--from 0:01 --to 0:02")
    commands = commands.replace("--at 0:15", "--seconds 2 --at 0:01").replace(
        "--num 4", "--num 4 --seconds 1"
    )
    takes = [f"four-{number}.wav" for number in (1, 2, 3, 4)]
    melody(2.0, seed=0).save(tmp_path / "hum.wav")
    made = ["long.wav", "waltz.wav", "story.wav", *takes, "longer.wav", "alike.wav", "mended.wav"]
    assert run(commands, tmp_path) == made
    lengths = {path.name: Audio.load(path).seconds for path in tmp_path.glob("*.wav")}
    assert lengths == {
        "hum.wav": 2, "long.wav": 3, "waltz.wav": 2, "story.wav": 2, "longer.wav": 4, "heard.wav": 2,
        "alike.wav": 1, "mended.wav": 3,
        **dict.fromkeys(takes, 1),
    }  # fmt: skip


def test_the_story_is_told_as_written(run: Shell, tmp_path: Path) -> None:
    story = block("## More forms", "yaml").replace("0:15", "0:01").replace("0:30", "0:02")
    (tmp_path / "story.yaml").write_text(story.replace("seconds: 45", "seconds: 3"))
    assert run("musiclm story story.yaml", tmp_path) == ["out.wav"]
    assert Audio.load(tmp_path / "out.wav").seconds == 3


def test_training_on_one_s_own_audio_works_as_written(run: Shell, tmp_path: Path) -> None:
    folder_of_tones(tmp_path / "my-music", 2, seconds=4.0)
    (tmp_path / "configs").symlink_to(ROOT / "configs")
    commands = block("## Train on your own audio", "sh")
    tiny = "--config configs/$stage.yaml --config configs/tiny/$stage.yaml"
    commands = commands.replace("--config configs/$stage.yaml", tiny)
    commands = commands.replace("musiclm generate", "musiclm generate --seconds 1")
    printed = run(commands, tmp_path)
    assert printed[-1] == "out.wav"
    assert (tmp_path / "out.wav").is_file()


def test_a_published_codec_works_as_written(
    run: Shell, tmp_path: Path, published_encodec: tuple[Path, "EncodecModel"]
) -> None:
    folder_of_tones(tmp_path / "my-music", 1, seconds=1.0)
    shutil.copy(published_encodec[0], tmp_path)
    commands = block("### With published models", "sh")
    commands = commands.replace("encodec_24khz-d7cc33bc.th", published_encodec[0].name)
    printed = run(commands, tmp_path)
    assert printed[-1] == "runs/encodec/report/codec.svg"
    assert (tmp_path / printed[-1]).is_file()


def test_auditing_works_as_written(run: Shell, tmp_path: Path) -> None:
    (tmp_path / "my-music").mkdir()
    for index in range(10):
        melody(7.0, seed=index).save(tmp_path / "my-music" / f"{index}.wav")
    few = "--examples 6 --prompt_tokens [0,25] --negatives 20 --false_positive_rate 0.5"
    commands = block("## Audit it before you publish it", "sh").replace("--out", f"{few} --out", 1)
    commands = commands.replace("musiclm generate", "musiclm generate --seconds 5 --guard_action label")
    commands = commands.replace("runs/mine/bundle", "default")
    commands = f"musiclm tokenize my-music/ --out runs/mine/tokens --workers 1\n{commands}"
    printed = run(commands, tmp_path)
    assert printed[-2:] == ["runs/mine/report/report.html", "out.wav"]
    assert {file.name for file in (tmp_path / "runs/mine/report").iterdir()} == {
        "report.html", "report.json", "summary.md", "matches.svg",
    }  # fmt: skip
