"""What `pip install .` without extras brings is enough to generate, in any folder.

A full environment would take minutes and gigabytes. This one has the wheel, built as pip builds it, and links
to the packages that the wheel asks for, and to those that these ask for, in the versions that the tests run
with: nothing else can be imported there.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from musiclm.training.shipped_configs import names

ROOT = Path(__file__).parent.parent
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel of a copy of the sources, so that building leaves nothing in them."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    made = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(ROOT / "musiclm", folder / "musiclm", ignore=made)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--no-build-isolation", "--wheel-dir", "dist", "."]  # with isolation it would need a network
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"does the environment have setuptools 77, as make setup installs?\n{done}"
    (built,) = (folder / "dist").glob("*.whl")
    return built


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an environment's commands, in which are the wheel and what it needs."""
    folder = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder)], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        metadata = next(name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        own = Distribution.at(packages / metadata.removesuffix("METADATA"))
    install = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    subprocess.run([*install, "--disable-pip-version-check", "--no-deps", str(wheel)], check=True)
    for needed in closure(own):
        link(needed, packages)
    return folder / "bin"


def closure(package: Distribution) -> list[Distribution]:
    """The installed packages that one asks for, without extras of its own, and those that they ask for."""
    found: dict[str, Distribution] = {}
    waiting = [(package, "")]
    seen = set()
    while waiting:
        asking, extra = waiting.pop()
        for line in asking.requires or []:
            needed = Requirement(line)
            if needed.marker and not needed.marker.evaluate({"extra": extra}):
                continue
            for wanted in ("", *needed.extras):
                if (needed.name, wanted) in seen:
                    continue
                seen.add((needed.name, wanted))
                try:
                    found[needed.name] = distribution(needed.name)
                except PackageNotFoundError:  # what only an extra of an extra asks for, say: it cannot be had
                    continue
                waiting.append((found[needed.name], wanted))
    return list(found.values())


def link(package: Distribution, packages: Path) -> None:
    """Let an environment see an installed package: a link to each of its folders and files."""
    for top in {file.parts[0] for file in package.files or []} - {"..", "__pycache__"}:
        if not (packages / top).exists():
            (packages / top).symlink_to(package.locate_file(top))  # type: ignore[arg-type]


def run(environment: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [environment / words[0], *words[1:]]
    return subprocess.run(command, cwd=folder, env=clean, capture_output=True, text=True, check=False)


def test_the_wheel_has_its_data(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        files = set(archive.namelist())
    assert {f"musiclm/configs/{name}" for name in names()} <= files
    others = ("py.typed", "bundles/default/model.yaml", "audit/report.html", "corpus/songbook.txt")
    assert {f"musiclm/{name}" for name in others} <= files
    assert not [name for name in files if name.startswith(("tests/", "benchmarks/", "docs/"))]


def test_it_generates_from_any_folder_with_what_it_asks_for_alone(environment: Path, tmp_path: Path) -> None:
    hidden = run(environment, tmp_path, "python", "-c", "import pytest")
    assert "No module named 'pytest'" in hidden.stderr
    done = run(environment, tmp_path, "musiclm", "generate", "a calm violin melody", "--seconds", "0.5")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "out.wav\n"
    assert (tmp_path / "out.wav").stat().st_size > 20_000


def test_its_configurations_are_there(environment: Path, tmp_path: Path) -> None:
    done = run(environment, tmp_path, "musiclm", "config", "copy", "semantic.yaml")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "semantic.yaml").is_file()


def test_its_version_is_the_projects(environment: Path, tmp_path: Path) -> None:
    code = "import musiclm; print(musiclm.__version__, musiclm.__file__)"
    version, file = run(environment, tmp_path, "python", "-c", code).stdout.split()
    assert f'version = "{version}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert Path(file).is_relative_to(environment.parent)
