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
        AttributeError: no attribute was called so, or the model's decoder has none such.
    """
    if name not in ATTRIBUTES:
        raise AttributeError(f"{type(model).__name__!r} object has no attribute {name!r}")
    value: Any = model
    place = ATTRIBUTES[name]
    if place.startswith("decoder.") and not hasattr(value.decoder, place.removeprefix("decoder.")):
        if name != "acoustic":
            raise AttributeError(
                f"MusicLM.{name} is of the decoder of tokens, this model makes its sound by diffusion: "
                'MusicLM.from_pretrained(..., decoder="tokens") has it'
            )
        place = "decoder.autoencoder.codec"
    warnings.warn(f"MusicLM.{name} is MusicLM.{place} now", DeprecationWarning, stacklevel=3)
    for each in place.split("."):
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
