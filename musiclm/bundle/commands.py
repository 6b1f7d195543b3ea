"""`musiclm bundle pack` and `musiclm bundle info`."""

from pathlib import Path
from typing import Any

from musiclm.bundle import aliases
from musiclm.bundle.plain import read_yaml
from musiclm.bundle.reading import Bundle
from musiclm.bundle.writing import merge


def pack(
    parts: list[Path], out: Path = Path("bundle"), settings: Path | None = None, stages: bool = True
) -> None:
    """Put trained components together as a model; of a role, the last one stays.

    Args:
        parts: bundles to take the components from, such as `default` or runs/soundstream/part.
        out: the folder to write: a new or an empty one, or a bundle, which is replaced.
        settings: a YAML file with the settings of generation by component; without it, each keeps its own.
        stages: false leaves the stages out: what remains tokenizes recordings to train other stages on.
    """
    values = None if settings is None else read_settings_file(settings)
    bundle = merge([Bundle.find(part) for part in parts], out, values, stages=stages)
    print(f"{', '.join(bundle.components)} ({bundle.fingerprint()}): {bundle.path}")


def info(bundle: str) -> None:
    """Say what is in a bundle.

    Args:
        bundle: a shipped bundle's name ("default"), a folder, or a Hugging Face id.
    """
    found = Bundle.find(bundle)
    found.check()
    print(f"{found.path}: bundle {found.fingerprint()}")
    for role, component in found.components.items():
        module = found.load(role)
        parameters = sum(parameter.numel() for parameter in module.parameters())
        size = (found.path / component.file).stat().st_size / 2**20
        print(f"  {role:<18} {parameters / 1e6:6.2f}M parameters {size:6.2f} MiB  {component.class_path}")


def read_settings_file(file: Path) -> dict[str, dict[str, Any]]:
    """The settings of components that a YAML file has, by role; also as format 1 listed them.

    Raises:
        OSError, ValueError: it cannot be read, or says something else.
    """
    values = read_yaml(file)
    if not isinstance(values, dict):
        raise ValueError(f"expected the settings of components, by name, in {file}, got {values!r:.80}")
    if values and not any(isinstance(value, dict) for value in values.values()):
        return aliases.settings_by_component(values, str(file))
    if odd := [name for name, value in values.items() if not isinstance(value, dict)]:
        raise ValueError(f"expected the settings of {odd[0]} in {file} as `name: value` lines")
    return values
