"""How a model's stages are sampled: what a bundle's `model.yaml` and configs/generation.yaml say."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class GenerationSettings:
    """How the stages are sampled. Windows in seconds; the defaults are the paper's (sec. 4.2)."""

    semantic_window: float = 30.0
    semantic_stride: float = 15.0
    coarse_window: float = 10.0
    coarse_carry: float = 5.0  # frames of the window before that the next one starts from
    fine_window: float = 3.0
    semantic_temperature: float = 1.0
    coarse_temperature: float = 0.95
    fine_temperature: float = 0.4
    semantic_top_k: int | None = None
    coarse_top_k: int | None = None
    semantic_guidance: float = 1.0  # classifier-free guidance by the prompt; 1 is off, else two rows a step
    coarse_guidance: float = 1.0
    decoder_context: int = 32  # frames of codes that the codec's decoder sees on either side of a block

    def __post_init__(self) -> None:
        if not (
            0 < self.semantic_stride < self.semantic_window and 0 < self.coarse_carry < self.coarse_window
        ):
            raise ValueError(
                "expected semantic_stride and coarse_carry above 0 and shorter than their windows, got "
                f"{self.semantic_stride} of {self.semantic_window} s and "
                f"{self.coarse_carry} of {self.coarse_window} s"
            )


def read_settings(words: Any) -> GenerationSettings:
    """The settings that a YAML file's words make.

    Raises:
        ValueError: names that are none, or values of another type.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    if not isinstance(words, dict):
        raise ValueError(f"expected settings as `name: value` lines, got {words!r}")
    parser = ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(GenerationSettings, "settings")
    try:
        return parser.instantiate(parser.parse_object({"settings": words})).settings
    except ArgumentError as error:
        raise ValueError(
            f"expected the settings of generation: {' '.join(str(error).split())[:300]}"
        ) from None
