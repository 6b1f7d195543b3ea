"""Names of earlier versions, in one table each: what was written then is read as what it is called now."""

from collections.abc import Mapping
from typing import Any

# Roles of format 1, which called them after what MusicLM has there, and what they do.
ROLES = {
    "soundstream": "codec",
    "w2v_bert": "semantic_encoder",
    "kmeans": "semantic_quantizer",
    "mulan": "joint_embedding",
    "mulan_rvq": "joint_quantizer",
    "melody": "melody_embedding",
    "melody_rvq": "melody_quantizer",
    "semantic": "semantic_stage",
    "coarse": "coarse_stage",
    "fine": "fine_stage",
}
# Settings of format 1, one list for the whole model: the component that each is of, and its name there.
SETTINGS = {
    "semantic_window": ("semantic_stage", "window"),
    "semantic_stride": ("semantic_stage", "stride"),
    "semantic_temperature": ("semantic_stage", "temperature"),
    "semantic_top_k": ("semantic_stage", "top_k"),
    "semantic_guidance": ("semantic_stage", "guidance"),
    "coarse_window": ("coarse_stage", "window"),
    "coarse_carry": ("coarse_stage", "carry"),
    "coarse_temperature": ("coarse_stage", "temperature"),
    "coarse_top_k": ("coarse_stage", "top_k"),
    "coarse_guidance": ("coarse_stage", "guidance"),
    "fine_window": ("fine_stage", "window"),
    "fine_temperature": ("fine_stage", "temperature"),
    "decoder_context": ("codec", "context"),
}
# Functions of this package, in Python.
FUNCTIONS = {"load_part": "load_component", "save_part": "save_component"}
# Classes that have moved: where a bundle may say that they are, and where they are.
CLASSES: dict[str, str] = {}


def role(name: str) -> str:
    """The role that a name stands for, today's or that of format 1."""
    return ROLES.get(name, name)


def by_role(values: Mapping[str, Any]) -> dict[str, Any]:
    """A mapping whose keys are roles, with today's."""
    return {role(name): value for name, value in values.items()}


def class_path(path: Any) -> Any:
    """Where a class is today."""
    return CLASSES.get(path, path) if isinstance(path, str) else path


def spec(value: Any) -> Any:
    """A copy of constructor values with the classes of all specs in them where they are today."""
    if isinstance(value, dict):
        moved = {key: spec(inner) for key, inner in value.items()}
        return moved | ({"class_path": class_path(value["class_path"])} if "class_path" in value else {})
    if isinstance(value, list):
        return [spec(inner) for inner in value]
    return value


def settings_by_component(values: Mapping[str, Any], place: str) -> dict[str, dict[str, Any]]:
    """The settings of each component, of a list of format 1.

    Raises:
        ValueError: format 1 has no such setting.
    """
    found: dict[str, dict[str, Any]] = {}
    for name, value in values.items():
        if name not in SETTINGS:
            raise ValueError(
                f"expected settings of components at {place}, got {name!r}: none of them is called so"
            )
        component, setting = SETTINGS[name]
        found.setdefault(component, {})[setting] = value
    return found
