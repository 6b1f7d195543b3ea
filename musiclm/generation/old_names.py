"""What version 0.1 called otherwise in Python: it works in version 0.2, with a `DeprecationWarning`."""

import warnings
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from musiclm.generation.request import Asked, AudioInput

# Attributes of MusicLM, and where they are now.
ATTRIBUTES = {
    "mulan": "joint_embedding",
    "quantizer": "joint_quantizer",
    "semantic": "semantic_stage",
    "acoustic": "decoder.codec",
    "coarse": "decoder.coarse",
    "fine": "decoder.fine",
}


def value_of_old_name(model: object, name: str) -> Any:
    """The value of an attribute of `MusicLM` by its old name.

    Raises:
        AttributeError: no attribute was called so.
    """
    if name not in ATTRIBUTES:
        raise AttributeError(f"{type(model).__name__!r} object has no attribute {name!r}")
    warnings.warn(f"MusicLM.{name} is MusicLM.{ATTRIBUTES[name]} now", DeprecationWarning, stacklevel=3)
    value: Any = model
    for each in ATTRIBUTES[name].split("."):
        value = getattr(value, each)
    return value


def instead_of_clip(continue_: "AudioInput | None", clip: "AudioInput | None") -> "AudioInput | None":
    """The recording to go on from, by either name."""
    if clip is not None:
        warnings.warn("clip= is called continue_= now, as --continue", DeprecationWarning, stacklevel=3)
    return clip if continue_ is None else continue_


def with_clip(asked: "Asked", clip: "AudioInput | None") -> "Asked":
    """What is asked, with the recording to go on from by either name."""
    return asked if clip is None else {**asked, "continue_": instead_of_clip(asked.get("continue_"), clip)}
