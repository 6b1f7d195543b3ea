"""Bundles of format 1: roles called after models, one list of settings, classes in fingerprints."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from musiclm.bundle import aliases
from musiclm.bundle.component import Component, component_of, digest, fingerprint_of

PIPELINE = {"class_path": "musiclm.generation.pipeline.MusicLM", "init_args": {}}  # of all that have stages


def upgraded(content: dict[str, Any], folder: Path, place: str) -> tuple[dict[str, Component], Any]:
    """The components by role, and the pipeline, that a model.yaml of format 1 stands for.

    Args:
        content: of the file.
        folder: of the bundle, whose weights are read: today's fingerprints say what they are.
        place: the file, for messages.

    Raises:
        ValueError: it is truncated or altered.
    """
    if not isinstance(content.get("parts"), dict):
        raise ValueError(f"expected parts by name in {place}, it is truncated or altered")
    settings = aliases.settings_by_component(content.get("settings") or {}, f"{place}: settings")
    components = {}
    for name, entry in content["parts"].items():
        component = component_of(name, entry, place)
        role = aliases.role(name)
        components[role] = replace(
            component,
            fingerprint=_fingerprint(role, entry, component, folder),
            formerly=(component.fingerprint,),
            settings=settings.get(role, {}),
        )
    for role, component in components.items():
        learned = {
            other: current(components, other, fingerprint)
            for other, fingerprint in aliases.by_role(component.trained_on).items()
        }
        components[role] = replace(component, trained_on=learned)
    return components, PIPELINE if "semantic_stage" in components else None


def current(components: dict[str, Component], role: str, fingerprint: str) -> str:
    """Today's fingerprint of a component that is known by another one; the same where it is none of these."""
    known = components.get(role)
    return known.fingerprint if known is not None and known.is_known_as(fingerprint) else fingerprint


def _fingerprint(role: str, entry: dict[str, Any], component: Component, folder: Path) -> str:
    """Today's fingerprint of the weights; of a missing or altered file one that fits no weights."""
    file = folder / component.file
    if not file.is_file():
        return component.fingerprint
    weights = file.read_bytes()
    spec = json.dumps([entry["class_path"], entry["init_args"]], sort_keys=True).encode()
    if digest(spec + weights) != component.fingerprint:
        return component.fingerprint
    return fingerprint_of(role, component.init_args, weights)
