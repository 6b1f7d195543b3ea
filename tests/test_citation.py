"""CITATION.cff and the changelog say what a citation needs, and the version that the project has."""

import re
import tomllib
from pathlib import Path

import yaml

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CITATION = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
# Of the schema of version 1.2.0: what must be there, and what else this file uses.
REQUIRED = {"cff-version", "message", "title", "authors"}
OPTIONAL = {"abstract", "keywords", "license", "references", "type", "version"}
REFERENCE = {"type", "title", "authors", "year", "identifiers", "url"}
PERSON, ENTITY = {"family-names", "given-names"}, {"name"}


def test_the_citation_has_what_its_format_asks_for() -> None:
    assert REQUIRED <= set(CITATION) <= REQUIRED | OPTIONAL
    assert CITATION["cff-version"] == "1.2.0"
    assert CITATION["type"] == "software"
    assert CITATION["authors"] == [{"name": "The open MusicLM contributors"}]
    assert len(set(CITATION["keywords"])) == len(CITATION["keywords"])
    assert isinstance(CITATION["message"], str)


def test_it_names_the_paper_and_its_authors() -> None:
    (paper,) = CITATION["references"]
    assert set(paper) == REFERENCE
    assert all(set(author) in (PERSON, ENTITY) for author in paper["authors"])
    assert all(isinstance(word, str) for author in paper["authors"] for word in author.values())
    (identifier,) = paper["identifiers"]
    assert identifier == {"type": "other", "value": "arXiv:2301.11325"}
    assert paper["url"].endswith(identifier["value"].removeprefix("arXiv:"))


def test_its_version_and_licence_are_the_project_s() -> None:
    assert CITATION["version"] == PROJECT["version"]
    assert CITATION["license"] == PROJECT["license"]


def test_the_changelog_has_the_version_and_groups_what_is_new() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    versions = re.findall(r"^## (.*)$", changelog, flags=re.MULTILINE)
    assert versions[0].startswith("[Unreleased]") or PROJECT["version"] in versions[0]
    assert any(version.startswith(f"{PROJECT['version']} – 20") for version in versions)
    groups = re.findall(r"^### (.*)$", changelog, flags=re.MULTILINE)
    assert set(groups) <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
