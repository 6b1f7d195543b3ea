"""Adapters as components of bundles: each belongs to one network, known by its fingerprint, and to no other.

A bundle of adapters has one of a stage (`semantic_adapter`, `coarse_adapter`, `fine_adapter`) or of the
denoiser (`denoiser_adapter`), or several of them. What an adapter was `trained_on` names its base. As a model
is loaded, or packed, the changes of all adapters are added to the matrices of their networks
(`musiclm/stages/adapters.py`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from musiclm.bundle.reading import Bundle
from musiclm.stages.adapters import Network, StageAdapter, merge

ROLES = {  # of an adapter, by the role of its base
    "semantic_stage": "semantic_adapter",
    "coarse_stage": "coarse_adapter",
    "fine_stage": "fine_adapter",
    "denoiser": "denoiser_adapter",
}
TUNED_ON = "tokens"  # beside adapters that `musiclm tune` has made: the token store of their music
MOST = 10.0  # of a scale, either way; far beyond what makes music

# A bundle of adapters by name, folder or Hugging Face id; or that, and its scale.
AdapterChoice = str | Path | tuple[str | Path, float]


@dataclass(frozen=True)
class ScaledAdapter:
    """A bundle of adapters, and what their changes are multiplied by.

    Raises:
        ValueError: the bundle has no adapter, or the scale is out of range.
    """

    bundle: Bundle
    scale: float = 1.0

    def __post_init__(self) -> None:
        if not has_adapters(self.bundle):
            raise ValueError(
                f"expected a bundle with one of {', '.join(ROLES.values())}, {self.bundle.path} has "
                f"{sorted(self.bundle.components)}: name what `musiclm tune` or `fit` has made"
            )
        if not -MOST <= self.scale <= MOST:  # nor is NaN
            raise ValueError(f"expected a scale of -{MOST:g} to {MOST:g} of an adapter, got {self.scale:g}")


def base_role(name: str) -> str:
    """The role of what an adapter changes, by its short name: semantic, coarse, fine or denoiser."""
    return name if name == "denoiser" else f"{name}_stage"


def has_adapters(bundle: Bundle) -> bool:
    """Whether one of its components is an adapter."""
    return not bundle.components.keys().isdisjoint(ROLES.values())


class Adapters:
    """The adapters that a model is loaded with, found to belong to its networks.

    Args:
        given: the adapters.
        bases: the bundle of each network, by its role.

    Raises:
        FileNotFoundError: there is no such bundle.
        ValueError: a bundle is no adapter's, or was tuned on another network than the model has.
    """

    def __init__(self, given: Sequence[AdapterChoice], bases: Mapping[str, Bundle]) -> None:
        pairs = [each if isinstance(each, tuple) else (each, 1.0) for each in given]
        self.adapters = [ScaledAdapter(Bundle.find(name), scale) for name, scale in pairs]
        for each in self.adapters:
            for base, role in ROLES.items():
                if role in each.bundle.components:
                    _check_base(each.bundle, base, role, bases.get(base))

    @cached_property
    def changed(self) -> list[str]:
        """Roles of the networks that an adapter changes."""
        present = {role for each in self.adapters for role in each.bundle.components}
        return [base for base, role in ROLES.items() if role in present]

    def __len__(self) -> int:
        return len(self.adapters)

    def merged(self, role: str, network: Network) -> Network:
        """A stage or a denoiser as its bundle has it, changed in place as the adapters say.

        Args:
            role: of the network.
            network: the base, in float32.

        Raises:
            FileNotFoundError, ValueError: an adapter cannot be used.
        """
        own = ROLES.get(role, "")
        chosen = [each for each in self.adapters if own in each.bundle.components]
        try:
            return merge(network, [(load_adapter(each.bundle, own), each.scale) for each in chosen])
        except ValueError as error:
            raise ValueError(f"{error}: an adapter of the {role} cannot be used") from None

    def __str__(self) -> str:
        """Scale and fingerprint of each, to stand behind the bundle's fingerprint."""
        return "".join(f" + {each.scale:g} {each.bundle.fingerprint()}" for each in self.adapters)


def load_adapter(bundle: Bundle, role: str) -> StageAdapter:
    """The adapter of a role.

    Raises:
        FileNotFoundError, ValueError: it cannot be used.
    """
    loaded: Any = bundle.load(role)
    if not isinstance(loaded, StageAdapter):
        raise ValueError(f"expected an adapter as {role} of {bundle.path}, it is a {type(loaded).__name__}")
    return loaded


def paired(adapters: Sequence[Path], scales: Sequence[float]) -> list[tuple[Path, float]]:
    """Adapters with their scales, as a command line names them: none, one for all, or one for each.

    Raises:
        ValueError: there are more or fewer scales.
    """
    if len(scales) not in (0, 1, len(adapters)) or (scales and not adapters):
        raise ValueError(
            f"expected no scale, one for all adapters or one for each, got {len(scales)} of "
            f"{len(adapters)}: say --adapter_scale once, or as often as --adapter"
        )
    if len(scales) < 2:
        scales = [*scales, 1.0][:1] * len(adapters)
    return list(zip(adapters, scales, strict=True))


def _check_base(adapter: Bundle, name: str, role: str, base: Bundle | None) -> None:
    learned = adapter.component(role).trained_on.get(name, "")
    if base is None or not base.component(name).is_known_as(learned):
        has = "none" if base is None else base.fingerprint(name)
        raise ValueError(
            f"expected the {name} that the adapter {adapter.path} was tuned on ({learned or 'unknown'}), "
            f"the model has {has}: name the bundle that it was tuned on, or tune it again on this one"
        )
