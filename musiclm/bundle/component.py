"""What a bundle says of a component: class, constructor values, weights, what it has learned from."""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from musiclm.bundle import aliases, word_list

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)  # a name, and never a path
WEIGHTS = ".safetensors"
# What makes sound of semantic tokens, MusicLM's way and MeLoDy's: the components that are of one way alone.
DECODERS = {
    "tokens": frozenset({"coarse_stage", "fine_stage"}),
    "diffusion": frozenset({"autoencoder", "denoiser"}),
}


@dataclass(frozen=True)
class Component:
    """An entry of model.yaml, by the role that the component has.

    Args:
        class_path, init_args: its spec: its class, and the values of its constructor.
        file: of its weights, in the bundle's folder.
        fingerprint: of role, values and weights, see `fingerprint_of`.
        trained_on: fingerprints by role of the components whose output it has learned from.
        settings: how it is used in generation; the pipeline knows their names.
        words: name of the file with the words of its training captions.
        formerly: fingerprints that earlier formats gave it; token stores and stages of theirs name those.
    """

    class_path: str
    init_args: dict[str, Any]
    file: str
    fingerprint: str
    trained_on: dict[str, str] = field(default_factory=dict)
    settings: dict[str, Any] = field(default_factory=dict)
    words: str | None = None
    formerly: tuple[str, ...] = ()

    def is_known_as(self, fingerprint: str) -> bool:
        """Whether a fingerprint, today's or of an earlier format, is this component's."""
        return fingerprint == self.fingerprint or fingerprint in self.formerly

    def entry(self) -> dict[str, Any]:
        """What model.yaml says of it: what is empty is left out."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        values["formerly"] = list(self.formerly)
        needed = ("class_path", "init_args", "file", "fingerprint")
        return {name: value for name, value in values.items() if value or name in needed}


def component_of(role: str, entry: Any, place: str) -> Component:
    """The component of an entry of model.yaml.

    Raises:
        ValueError: the entry is not whole, or names files outside the bundle's own folder.
    """
    check_name(role, place)
    needed, known = (
        {"class_path", "init_args", "file", "fingerprint"},
        {each.name for each in fields(Component)},
    )
    if not isinstance(entry, dict) or not needed <= entry.keys() <= known:
        raise _torn(role, place)
    values = {name: value for name, value in entry.items() if value is not None}
    formerly, words = values.get("formerly", []), values.get(word_list.KEY)
    whole = (
        isinstance(values.get("init_args"), dict)
        and all(isinstance(values.get(name), str) for name in ("class_path", "fingerprint"))
        and is_file_name(values.get("file"), WEIGHTS)
        and (words is None or is_file_name(words, word_list.ENDING))
        and _are_words(values.get("trained_on", {}))
        and isinstance(values.get("settings", {}), dict)
        and isinstance(formerly, list)
        and all(isinstance(value, str) for value in formerly)
    )
    if not whole:
        raise _torn(role, place)
    values["class_path"] = aliases.class_path(values["class_path"])
    values["init_args"] = aliases.spec(values["init_args"])
    return Component(**{**values, "formerly": tuple(formerly)})


def fingerprint_of(role: str, init_args: Mapping[str, Any], weights: bytes) -> str:
    """What tells a component from every other: of its role, the values it is built from, and its weights.

    Where its class is does not count, nor what the class is called, so that a bundle outlives both.
    """
    return digest(json.dumps([role, _without_classes(init_args)], sort_keys=True).encode() + weights)


def digest(content: bytes) -> str:
    """16 hex digits of SHA-256."""
    return hashlib.sha256(content).hexdigest()[:16]


def check_name(name: Any, place: str) -> None:
    """Raise ValueError for a component's name that could be taken for a path."""
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError(f"expected names of components of letters, digits, _ and - in {place}, got {name!r}")


def is_file_name(file: Any, ending: str) -> bool:
    """Whether it is the name of a file with this ending, and no path."""
    return (
        isinstance(file, str)
        and file.endswith(ending)
        and NAME.fullmatch(file.removesuffix(ending)) is not None
    )


def _without_classes(value: Any) -> Any:
    """Constructor values without the names of classes: of a spec, its values."""
    if isinstance(value, dict):
        inner = value.get("init_args") or {} if "class_path" in value else value
        return {key: _without_classes(each) for key, each in inner.items()}
    if isinstance(value, list | tuple):
        return [_without_classes(each) for each in value]
    return value


def _are_words(values: Any) -> bool:
    return isinstance(values, dict) and all(isinstance(value, str) for value in values.values())


def _torn(role: str, place: str) -> ValueError:
    return ValueError(
        f"expected a whole entry of {role} in {place}, it is truncated or altered: get it again"
    )
