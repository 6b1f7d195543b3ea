"""A hook of mkdocs: makes the pages that are no files of docs/, and mends links between all pages.

The API has one page for every module that the folder `musiclm` has when the site is built, so that a module
that moves needs no edit here or in mkdocs.yml. Home, contributing and the changelog are files at the top of
the repository. A link to a file that is no page (a script, a notebook) becomes the file's name.
"""

import posixpath
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
PACKAGE = "musiclm"
TOP = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md", "CHANGELOG.md": "changelog.md"}
LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)|(!\[[^\]]*\])\(([^)\s]+)\)")
COPY = TemporaryDirectory(prefix="musiclm-docs")  # removed when the process ends
ADDRESS = re.compile(r"(?<=[\"'`])https://[\w.@/-]+")  # in a script, what it would fetch


def modules() -> list[tuple[str, ...]]:
    """The dotted names of all public modules, in parts: a package stands before what is in it."""
    found = set()
    for file in (ROOT / PACKAGE).rglob("*.py"):
        parts = file.relative_to(ROOT).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        if not any(part.startswith("_") for part in parts):
            found.add(parts)
    return sorted(found)


def page_of(parts: tuple[str, ...]) -> str:
    """The page of a module."""
    return f"api/{'.'.join(parts)}.md"


@event_priority(100)  # before mkdocstrings, which looks where to read the package
def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Add the API to the navigation: a section for each folder."""
    config.nav.append({"API": _section((PACKAGE,), modules())})
    config.plugins["mkdocstrings"].config["handlers"]["python"]["paths"] = [str(_readable_copy())]
    return config


def _readable_copy() -> Path:
    """A copy of the package's sources in which every folder has an `__init__.py`.

    Folders without one are packages to Python, and are not to the library that reads docstrings.
    """
    for file in (ROOT / PACKAGE).rglob("*.py"):
        copied = Path(COPY.name) / file.relative_to(ROOT)
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copied)
    for file in list(Path(COPY.name).rglob("*.py")):
        (file.parent / "__init__.py").touch()
    return Path(COPY.name)


def _section(folder: tuple[str, ...], names: list[tuple[str, ...]]) -> list[Any]:
    entries: list[Any] = [page_of(folder)] if folder in names else []
    inside = sorted({name[: len(folder) + 1] for name in names if name[: len(folder)] == folder} - {folder})
    for name in inside:
        is_folder = any(len(other) > len(name) and other[: len(name)] == name for other in names)
        entries.append({name[-1]: _section(name, names) if is_folder else page_of(name)})
    return entries


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of the top of the repository and of the modules."""
    for name, page in TOP.items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text(encoding="utf-8")))
    for parts in modules():
        name = ".".join(parts)
        files.append(
            File.generated(config, page_of(parts), content=f"---\ntitle: {name}\n---\n\n::: {name}\n")
        )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links lead to pages where there is one, and nowhere else in the repository."""
    place = page.file.src_uri
    if place.startswith("api/"):
        return markdown
    folder = "" if place in TOP.values() else "docs"  # where the file lies in the repository

    def mended(match: re.Match[str]) -> str:
        words, target = (match[1], match[2]) if match[2] else (match[3], match[4])
        if re.match(r"[a-z]+:|#", target):
            return match[0]
        path, hash, anchor = target.partition("#")
        path = posixpath.normpath(posixpath.join(folder, path))
        page = TOP.get(path) or path.removeprefix("docs/")
        if files.get_file_from_path(page):
            return f"{words if match[3] else f'[{words}]'}({page}{hash}{anchor})"
        if not (ROOT / path).exists():
            return match[0]  # mkdocs complains of it
        return words

    return LINK.sub(mended, markdown)


def on_post_build(config: MkDocsConfig) -> None:
    """Remove the addresses from which the theme's script would fetch something."""
    for script in Path(config.site_dir).rglob("*.js"):
        script.write_text(ADDRESS.sub("", script.read_text(encoding="utf-8")), encoding="utf-8")
