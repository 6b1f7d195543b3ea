"""`musiclm bundle pack` and `musiclm bundle info`."""

from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from musiclm.bundle import aliases
from musiclm.bundle.adapters import AdapterChoice, Adapters, has_adapters, paired
from musiclm.bundle.plain import read_yaml
from musiclm.bundle.reading import Bundle
from musiclm.bundle.writing import Settings, merge, save_component


def pack(
    parts: list[Path],
    out: Path = Path("bundle"),
    settings: Path | None = None,
    stages: bool = True,
    adapter: Sequence[Path] = (),
    adapter_scale: Sequence[float] = (),
) -> None:
    """Put trained components together as a model; of a role, the last one stays.

    Args:
        parts: bundles to take the components from, such as `default` or runs/soundstream/part.
        out: the folder to write: a new or an empty one, or a bundle, which is replaced.
        settings: a YAML file with the settings of generation by component; without it, each keeps its own.
        stages: false leaves stages, denoiser and planner out: what remains tokenizes recordings to train
            others on.
        adapter: bundles of adapters, as `musiclm tune` makes them, whose changes are added to what they were
            tuned on for good: the bundle needs them no more, and others that were tuned on it do not fit.
        adapter_scale: what the changes are multiplied by: once for all adapters, or once for each.
    """
    values = None if settings is None else read_settings_file(settings)
    sources = [Bundle.find(part) for part in parts]
    for source in sources:
        if has_adapters(source):
            raise ValueError(
                f"expected components of a model, {source.path} has adapters: give it with --adapter"
            )
    if adapter and not stages:
        raise ValueError("expected --adapter or --stages false, got both: without stages there is no change")
    bundle = pack_adapted(sources, paired(adapter, adapter_scale), out, values, stages=stages)
    print(f"{', '.join(bundle.components)} ({bundle.fingerprint()}): {bundle.path}")


def pack_adapted(
    sources: Sequence[Bundle],
    adapters: Sequence[AdapterChoice],
    out: Path,
    settings: Settings | None = None,
    *,
    stages: bool = True,
) -> Bundle:
    """Write the components of bundles as one, as `merge` does, with adapters' changes in its networks.

    Raises:
        FileNotFoundError, OSError, ValueError: as `merge`, or an adapter does not belong to them.
    """
    bases = {role: source for source in sources for role in source.components}
    found = Adapters(adapters, bases)
    with TemporaryDirectory() as temporary:
        changed = [save_adapted(Path(temporary) / role, role, bases[role], found) for role in found.changed]
        if "denoiser" in found.changed:  # a coarse stage, coming later, has removed it with its latents
            latents = ("autoencoder",)
            changed.append(merge([bases["autoencoder"]], Path(temporary) / "latents", only=latents))
        return merge([*sources, *changed], out, settings, stages=stages)


def save_adapted(folder: Path, role: str, base: Bundle, adapters: Adapters) -> Bundle:
    """Write one network of a bundle, with the changes of adapters in its matrices, as a bundle of its own.

    It is kept in float16, whatever the base was kept in: 8 bits may be too few for a small change.
    """
    component = base.component(role)
    return save_component(
        folder,
        role,
        adapters.merged(role, base.load(role)),
        class_path=component.class_path,
        init_args=component.init_args,
        storage="float16",
        trained_on=component.trained_on,
    )


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
