"""How a model's stages are sampled: what a bundle's `model.yaml` and configs/generation.yaml say."""

from dataclasses import dataclass, fields
from typing import Any

from musiclm.build import read

SHORTEST = 0.1  # seconds of a window, or of what is new or carried on in one: a few frames of any clock
LONGEST = 600.0  # seconds
HOTTEST = 100.0  # temperature and guidance; far beyond what makes music
MOST_CONTEXT = 10_000  # frames


@dataclass(frozen=True)
class GenerationSettings:
    """How the stages are sampled. Windows in seconds; the defaults are the paper's (sec. 4.2).

    Raises:
        ValueError: a value is out of its range.
    """

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
        for field in fields(self):
            least, most = RANGES[field.name.split("_", 1)[1]]
            value = getattr(self, field.name)
            if value is not None and not least <= value <= most:  # nor is NaN
                raise ValueError(f"expected {field.name} of {least:g} to {most:g}, got {value:g}")
        for part, window in ((self.semantic_stride, "semantic_window"), (self.coarse_carry, "coarse_window")):
            if getattr(self, window) - part < SHORTEST:
                raise ValueError(
                    f"expected semantic_stride and coarse_carry {SHORTEST:g} s shorter than their windows or "
                    f"more, got {self.semantic_stride:g} of {self.semantic_window:g} s and "
                    f"{self.coarse_carry:g} of {self.coarse_window:g} s"
                )


# By what a field's name ends in: the least and the most that makes sense.
RANGES = {
    "window": (SHORTEST, LONGEST),
    "stride": (SHORTEST, LONGEST),
    "carry": (SHORTEST, LONGEST),
    "temperature": (0.0, HOTTEST),
    "top_k": (1, 2**31),
    "guidance": (0.0, HOTTEST),
    "context": (0, MOST_CONTEXT),
}


def read_settings(values: Any, place: str = "the settings") -> GenerationSettings:
    """The settings that a YAML file's values make.

    Args:
        values: of the fields, by name.
        place: where they are written, for messages.

    Raises:
        ValueError: names that are none, or values of another type or out of range.
    """
    if not isinstance(values, dict):
        raise ValueError(
            f"expected the settings of generation, `name: value` lines, at {place}, got {values!r:.80}"
        )
    try:
        return read(GenerationSettings, values, place)
    except ValueError as error:
        raise ValueError(f"expected the settings of generation: {error}") from None
