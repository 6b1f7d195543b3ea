"""Names of earlier versions, in one table each: what was written then is read as what it is called now."""

from collections.abc import Mapping
from typing import Any

from musiclm.stages.streams import MADE_BY

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
# The sizes of streams, when each had a name of its own, and what they were where a stage named none.
STAGE_SIZES: dict[str, Any] = {
    "mulan_levels": 12,
    "mulan_codebook_size": 1024,
    "melody_levels": 0,
    "melody_codebook_size": 512,
    "semantic_codebook_size": 1024,
    "semantic_frame_rate": 25.0,
    "acoustic_levels": 12,
    "acoustic_codebook_size": 1024,
    "acoustic_frame_rate": 50.0,
}
MELODY_HOP = 3.0  # seconds
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


def stage_values(values: Mapping[str, Any]) -> dict[str, Any]:
    """The constructor values of a stage, with its streams as data."""
    kept = {name: value for name, value in values.items() if name not in STAGE_SIZES}
    if "melody_width" in kept:
        kept["unfolded_width"] = kept.pop("melody_width")
    if len(kept) == len(values):
        return kept
    of = STAGE_SIZES | dict(values)
    streams = [
        ("mulan", of["mulan_levels"], of["mulan_codebook_size"], 0.0),
        ("melody", of["melody_levels"], of["melody_codebook_size"], 1 / MELODY_HOP),
        ("semantic", 1, of["semantic_codebook_size"], of["semantic_frame_rate"]),
        ("acoustic", of["acoustic_levels"], of["acoustic_codebook_size"], of["acoustic_frame_rate"]),
    ]
    words = [dict(zip(("name", "levels", "size", "rate"), each, strict=True)) for each in streams]
    return {"streams": [each for each in words if each["levels"] != 0]} | kept


def store_streams(values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The streams of a token store whose description gave each size a name of its own.

    Raises:
        LookupError: it lacks one.
    """
    streams: list[dict[str, Any]] = [
        {
            "name": "semantic",
            "levels": 1,
            "size": values["semantic_codebook_size"],
            "rate": values["semantic_frame_rate"],
        },
        {
            "name": "acoustic",
            "levels": values["num_quantizers"],
            "size": values["acoustic_codebook_size"],
            "rate": values["acoustic_frame_rate"],
        },
    ]
    for name, hop in (("mulan", 0.0), ("melody", MELODY_HOP)):
        if dimension := values.get(f"{name}_dimension", 0):
            window, stride = (values[f"{name}_{each}_seconds"] for each in ("window", "stride"))
            streams.append(
                {"name": name, "levels": 1, "size": dimension, "rate": 1 / stride}
                | {"kind": "embeddings", "hop": hop, "window": window}
            )
    return [each | {"made_by": MADE_BY[each["name"]]} for each in streams]


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
