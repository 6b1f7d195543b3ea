"""The commands on the page about evaluation are there, with the options that it names."""

import importlib
import inspect
import re
import shlex
from pathlib import Path

import pytest

from musiclm.cli.command import COMMANDS

PAGE = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")
LINES = re.findall(r"^musiclm .*$", PAGE, re.MULTILINE)


@pytest.mark.parametrize("line", LINES)
def test_a_command_has_the_options_that_the_page_gives_it(line: str) -> None:
    words = shlex.split(line)[1:]
    module, name = COMMANDS[tuple(words[:2])][0].split(":")
    parameters = inspect.signature(getattr(importlib.import_module(module), name)).parameters
    assert {word[2:] for word in words if word.startswith("--")} <= set(parameters)
    positional = [each for each in parameters.values() if each.kind is each.POSITIONAL_OR_KEYWORD]
    assert len([each for each in positional if each.default is each.empty]) >= 1


def test_every_command_of_the_page_has_a_section() -> None:
    assert len(LINES) >= 8
    for line in LINES:
        command = line.split()[2]
        assert re.search(rf"^## .*`.*{re.escape(command.removesuffix('-results'))}", PAGE, re.MULTILINE)
