"""Components of a bundle that not every form of generation needs, and what to say where one is missing."""

from collections.abc import Sequence
from typing import Any

import torch

from musiclm.bundle import Bundle
from musiclm.generation.acoustic_decoder import AcousticDecoder
from musiclm.stages.stage import Stage


def load_components(
    bundle: Bundle | None, roles: Sequence[str], *, use: str, device: torch.device
) -> list[Any]:
    """The components of these roles, on a device.

    Args:
        bundle: where they are; None for a model that is from none.
        roles: of the components.
        use: what they are needed for, in the words of the error.
        device: where they go.

    Raises:
        ValueError: the bundle lacks one.
    """
    if bundle is None or (missing := [role for role in roles if role not in bundle.components]):
        raise ValueError(
            f"expected a bundle with the components {' and '.join(roles)} to {use}, {_place(bundle)} has no "
            f"{' and no '.join(roles if bundle is None else missing)}: choose another --bundle"
        )
    return [bundle.load(role).to(device) for role in roles]


def follows(condition: str, semantic_stage: Stage, decoder: AcousticDecoder) -> bool:
    """Whether a model's stages have learned what a stream of conditions says, as `melody`."""
    return semantic_stage.layout.has_condition(condition) and decoder.follows(condition)


def check_follows(
    condition: str, bundle: Bundle | None, semantic_stage: Stage, decoder: AcousticDecoder
) -> None:
    """Raise ValueError where one of a model's stages has not learned what a stream of conditions says."""
    if not follows(condition, semantic_stage, decoder):
        layout = semantic_stage.layout
        which = "acoustic decoder" if layout.has_condition(condition) else f"{layout.target.name} stage"
        raise ValueError(
            f"expected stages that follow a {condition}, the {which} of {_place(bundle)} has learned none: "
            f"train it from tokens with a {condition}"
        )


def no_score_followed(bundle: Bundle | None) -> ValueError:
    """The error where beats, keys, chords or drums are asked of a model that follows none."""
    return ValueError(
        f"expected stages that follow beats, keys, chords or drums, those of {_place(bundle)} have learned "
        "none: say it in words, or train the semantic stage from tokens that have them"
    )


def _place(bundle: Bundle | None) -> str:
    return "this model" if bundle is None else str(bundle.path)
