"""The site of the documentation builds without a warning, and makes a browser load nothing from elsewhere."""

import os
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path

import pytest

pytest.importorskip("mkdocs")  # `make setup` installs it
ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow
OUTSIDE = re.compile(r"(?:https?:)?//[\w.-]+\.\w+[\w./@-]*")
HARMLESS = re.compile(r"http://www\.w3\.org/.*|https://bit\.ly/2s3ChXG")  # formats' names, a warning's text
LOADED = {
    "stylesheet",
    "icon",
    "preload",
    "prefetch",
    "preconnect",
    "dns-prefetch",
    "modulepreload",
    "manifest",
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(folder)],
        cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr or done.stdout
    assert "Building documentation" in done.stderr, "a quiet build counts no warnings, strict or not"
    return folder


class Loads(HTMLParser):
    """What a browser fetches by itself when it shows a page, and what its inline scripts and styles say."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline = False

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.inline = tag in ("script", "style")
        self.found += [given[name] for name in ("src", "srcset", "poster", "data", "style") if name in given]
        if tag == "link" and LOADED & set(given.get("rel", "").split()):
            self.found.append(given["href"])

    def handle_data(self, data: str) -> None:
        if self.inline:
            self.found.append(data)

    def handle_endtag(self, tag: str) -> None:
        self.inline = False


def outside(text: str) -> list[str]:
    return [address for address in OUTSIDE.findall(text) if not HARMLESS.fullmatch(address)]


def test_a_page_loads_nothing_from_elsewhere(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 100
    for page in pages:
        loads = Loads()
        loads.feed(page.read_text(encoding="utf-8"))
        assert loads.found
        assert not [address for text in loads.found for address in outside(text)], page


def test_a_style_loads_nothing_from_elsewhere(site: Path) -> None:
    for style in site.rglob("*.css"):
        text = style.read_text(encoding="utf-8")
        loaded = re.findall(r"""url\(["']?([^)]*)|@import\s+([^;]*)""", text)
        assert not [
            each for pair in loaded for each in pair if each.startswith(("http", "//", '"http', "'http"))
        ]


def test_a_script_names_nothing_to_load_from_elsewhere(site: Path) -> None:
    scripts = list(site.rglob("*.js"))
    assert scripts
    for script in scripts:
        code = re.sub(r"/\*.*?\*/", "", script.read_text(encoding="utf-8"), flags=re.DOTALL)
        code = re.sub(r"^\s*//.*$", "", code, flags=re.MULTILINE)
        assert not [each for each in outside(code) if each.startswith("http")], script


def test_every_public_module_has_its_page(site: Path) -> None:
    for file in (ROOT / "musiclm").rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            name = ".".join(parts)
            page = site / "api" / f"{name}.html"
            assert f'<h1 id="{name}"' in page.read_text(encoding="utf-8"), name


def test_a_page_of_the_api_has_parameters_and_prose(site: Path) -> None:
    page = (site / "api" / "musiclm.stages.layout.html").read_text(encoding="utf-8")
    assert "How a stage's codes become the steps of a decoder-only transformer" in page.replace("&#39;", "'")
    assert re.search(r"lookahead.*?frames, on the condition's own clock", page, flags=re.DOTALL)


def test_the_home_page_leads_to_the_others(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    pages = ("audit", "architecture", "paper", "performance", "contributing", "changelog", "default-model")
    for page in pages:
        assert f'href="{page}.html' in home
    assert 'href="docs/' not in home


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_a_page_says_nothing_twice(page: Path) -> None:
    """An edit that goes wrong leaves a section, or half a page, in two places."""
    text = page.read_text(encoding="utf-8")
    headings = re.findall(r"^#+ .*$", text, re.MULTILINE)
    assert len(set(headings)) == len(headings)
    paragraphs = [
        part for part in re.sub(r"```.*?```", "", text, flags=re.DOTALL).split("\n\n") if len(part) > 120
    ]
    assert len(set(paragraphs)) == len(paragraphs)
