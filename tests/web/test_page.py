"""The page: every word from one file, nothing from elsewhere, and made for hands, eyes and keys."""

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[2] / "musiclm" / "web" / "page"
HTML = (PAGE / "index.html").read_text(encoding="utf-8")
WORDS = (PAGE / "words.js").read_text(encoding="utf-8")
KEYS = set(re.findall(r"^  (\w+):", WORDS, re.MULTILINE))


class Elements(HTMLParser):
    """Tags with their attributes, and the text outside of tags."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.text = ""
        self.feed(HTML)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attributes}))

    def handle_data(self, data: str) -> None:
        self.text += f" {data}"


def test_all_that_it_says_is_in_one_file() -> None:
    elements = Elements()
    used = {value for _, given in elements.found for name, value in given.items() if name.startswith("data-")}
    for script in PAGE.glob("*.js"):
        used |= set(re.findall(r"\bwords\.(?!js\b)(\w+)", script.read_text(encoding="utf-8")))
    assert used - KEYS == set()
    assert KEYS - used - {"done", "cancelled"} == set(), "words that nothing says"
    assert set(elements.text.split()) == {"MusicLM", "4/4", "3/4"}


def test_it_loads_what_lies_beside_it_and_nothing_else() -> None:
    for file in PAGE.iterdir():
        text = file.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//[a-z]+\.", text), file.name
    asked = {given.get(name, "") for _, given in Elements().found for name in ("src", "href")}
    scripts = [script.read_text(encoding="utf-8") for script in PAGE.glob("*.js")]
    imported = {name for script in scripts for name in re.findall(r'from "\./(.*)"', script)}
    loaded = {name for name in asked if name.startswith("page/")}
    assert loaded | {f"page/{name}" for name in imported} == {
        f"page/{file.name}" for file in PAGE.iterdir() if file.name != "index.html"
    }


@pytest.mark.parametrize("tag", ["input", "select", "button", "canvas"])
def test_every_field_has_a_name(tag: str) -> None:
    """A label around it, one that names it, or words of its own."""
    labelled = set(re.findall(r'<label for="(\w+)"', HTML))
    inside = re.findall(r"<label[^>]*>(.*?)</label>", HTML, re.DOTALL)
    for kind, given in Elements().found:
        if kind != tag or given.get("aria-hidden") or given.get("id") == "given-wave":
            continue
        name = given.get("id") or given.get("class") or given.get("value", "")
        around = any(f'"{name}"' in each for each in inside if name)
        assert given.get("id") in labelled or around or "data-words" in given or name in ("play", "wave"), (
            name
        )


def test_its_limits_are_the_services() -> None:
    from musiclm.generation.request import MAX_PROMPT
    from musiclm.score.controls import FASTEST, SLOWEST
    from musiclm.web.schema import MOST_TAKES

    assert f'id="prompt" maxlength="{MAX_PROMPT}"' in HTML
    assert f'id="takes" min="1" max="{MOST_TAKES}"' in HTML
    assert f'id="bpm" min="{SLOWEST:g}" max="{FASTEST:g}"' in HTML
