"""`musiclm bundle pack` and `musiclm bundle info`."""

from pathlib import Path

from musiclm.bundle.reading import Bundle
from musiclm.bundle.writing import merge
from musiclm.plain import read_yaml
from musiclm.settings import read_settings


def pack(
    parts: list[Path], out: Path = Path("bundle"), settings: Path | None = None, stages: bool = True
) -> None:
    """Put trained parts together as a model; of parts of the same name, the last one stays.

    Args:
        parts: bundles to take the parts from, such as `default` or runs/soundstream/part.
        out: the folder to write: a new or an empty one, or a bundle, which is replaced.
        settings: a YAML file with the settings of generation; without it, those of the last bundle with any.
        stages: false leaves the stages out: what remains tokenizes recordings to train other stages on.
    """
    values = read_yaml(settings) if settings else None
    if settings:
        read_settings(values, str(settings))
    bundle = merge([Bundle.find(part) for part in parts], out, values, stages=stages)
    print(f"{', '.join(bundle.parts)} ({bundle.fingerprint()}): {bundle.path}")


def info(bundle: str) -> None:
    """Say what is in a bundle.

    Args:
        bundle: a shipped bundle's name ("default"), a folder, or a Hugging Face id.
    """
    found = Bundle.find(bundle)
    read_settings(found.settings, f"{found.file}: settings")
    for name in found.parts:
        found.check(name)
    print(f"{found.path}: bundle {found.fingerprint()}")
    for name, entry in found.parts.items():
        part = found.load(name)
        parameters = sum(parameter.numel() for parameter in part.parameters())
        size = (found.path / entry["file"]).stat().st_size / 2**20
        print(f"  {name:<12} {parameters / 1e6:6.2f}M parameters {size:6.2f} MiB  {entry['class_path']}")
