"""What the code imports is declared, and what is missing is named with the extra that brings it."""

import re
import sys
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from musiclm.extras import EXTRAS, what_to_install

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# The Makefile brings tinysoundfont, jsonargparse[signatures] docstring_parser, transformers tokenizers.
ELSEWHERE = {"musiclm", "tinysoundfont", "docstring_parser", "tokenizers"}


def packages(lines: list[str]) -> set[str]:
    return {canonicalize_name(Requirement(line).name) for line in lines}


@cache
def distributions() -> Mapping[str, list[str]]:
    """What is installed, by module; to find it out takes a second."""
    return packages_distributions()


def brought_by(module: str) -> set[str]:
    """The packages that a module may come from, by its name where it is not installed."""
    return {canonicalize_name(name) for name in distributions().get(module, [module])}


def test_every_import_is_of_the_core_or_of_an_extra() -> None:
    core = packages(PROJECT["dependencies"])
    statement = re.compile(r"^\s*(?:import|from) (\w+)(?:[ .]|$)", re.MULTILINE)
    for file in (ROOT / "musiclm").rglob("*.py"):
        code = re.sub(r'"""(.|\n)*?"""', "", file.read_text(encoding="utf-8"))
        for module in set(statement.findall(code)) - ELSEWHERE - set(sys.stdlib_module_names):
            assert module in EXTRAS or brought_by(module) & core, f"{file} imports {module}"


@pytest.mark.parametrize("module", EXTRAS)
def test_an_extra_brings_what_it_is_named_for(module: str) -> None:
    assert brought_by(module) & packages(PROJECT["optional-dependencies"][EXTRAS[module]])


def test_a_missing_package_is_one_line_that_says_what_to_install() -> None:
    said = what_to_install(ModuleNotFoundError("No module named 'lightning'", name="lightning.pytorch"))
    assert said == "expected the package lightning, it is not installed: pip install 'musiclm[train]'"
    assert what_to_install(ModuleNotFoundError("No module named 'musiclm.none'", name="musiclm.none")) is None
