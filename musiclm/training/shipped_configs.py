"""The configurations that ship with the package: found, listed and copied wherever it is installed.

They are the YAMLs of `musiclm/configs`, which the link `configs` shows at the top of the repository. A name
is a path below that folder: `semantic.yaml`, `tiny/semantic.yaml`.
"""

from collections.abc import Sequence
from pathlib import Path

from musiclm.files import write_whole

FOLDER = Path(__file__).parents[1] / "configs"
OPTIONS = ("--config", "-c")  # of the training command


def names() -> list[str]:
    """The names of all shipped configurations, those of a folder after those above it."""
    paths = (path.relative_to(FOLDER) for path in FOLDER.rglob("*.yaml"))
    return [str(path) for path in sorted(paths, key=lambda path: (path.parent, path.name))]


def find(name: str) -> Path | None:
    """The shipped configuration of a name, which may begin with `configs/`; None where there is none."""
    name = name.removeprefix("configs/")
    return FOLDER / name if name in names() else None


def with_shipped(arguments: Sequence[str]) -> list[str]:
    """A command line whose `--config NAME` is the shipped file, where no file of that name exists."""
    result: list[str] = []
    for word in arguments:
        option, equals, name = word.partition("=")
        if result and result[-1] in OPTIONS:
            result.append(_found(word))
        elif equals and option in OPTIONS:
            result.append(f"{option}={_found(name)}")
        else:
            result.append(word)
    return result


def _found(name: str) -> str:
    return name if Path(name).exists() else str(find(name) or name)


def list_configs() -> None:
    """Print the name of every shipped configuration, and the first line of what it says of itself."""
    width = max(map(len, names()))
    for name in names():
        with (FOLDER / name).open(encoding="utf-8") as file:
            purpose = file.readline().lstrip("# ").rstrip()
        print(f"{name:<{width}}  {purpose}")


def copy(name: str, *, out: Path = Path()) -> None:
    """Copy a shipped configuration, to change it.

    Args:
        name: as `musiclm config list` prints it, such as semantic.yaml or tiny/semantic.yaml.
        out: the folder to copy it to, under its whole name: tiny/semantic.yaml stays in a folder `tiny`.
    """
    source = find(name)
    if source is None:
        raise ValueError(f"expected the name of a shipped configuration (musiclm config list), got {name}")
    target = out / source.relative_to(FOLDER)
    if target.exists():
        raise FileExistsError(f"expected no file at {target}: remove it, or give another folder with --out")
    target.parent.mkdir(parents=True, exist_ok=True)
    write_whole(target, source.read_bytes())
    print(target)
