"""How a model's components are used in generation: `settings` of each in a bundle's `model.yaml`."""

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, ClassVar

from musiclm.bundle.build import read
from musiclm.diffusion.process import Schedule

if TYPE_CHECKING:
    from musiclm.bundle.component import Component

SHORTEST = 0.1  # seconds of a window, or of what is new or carried on in one: a few frames of any clock
LONGEST = 600.0  # seconds
HOTTEST = 100.0  # temperature and guidance; far beyond what makes music
MOST_CONTEXT = 10_000  # frames
MOST_STEPS = 1000  # of a diffusion
# By name: the least and the most that makes sense.
RANGES: dict[str, tuple[float, float]] = {
    "window": (SHORTEST, LONGEST),
    "stride": (SHORTEST, LONGEST),
    "carry": (SHORTEST, LONGEST),
    "temperature": (0.0, HOTTEST),
    "top_k": (1, 2**31),
    "guidance": (0.0, HOTTEST),
    "guidance_scored": (0.0, HOTTEST),
    "guidance_story": (0.0, HOTTEST),
    "context": (0, MOST_CONTEXT),
    "steps": (1, MOST_STEPS),
    "order": (1, 2),
    "guidance_from": (0.0, 1.0),
    "guidance_until": (0.0, 1.0),
}


@dataclass(frozen=True)
class SemanticSettings:
    """How the semantic stage is sampled, in windows of seconds; by default the paper's (MusicLM, sec. 4.2).

    Raises:
        ValueError: a value is out of its range; so in all of these.
    """

    window: float = 30.0
    stride: float = 15.0  # of a window, what is new
    temperature: float = 1.0
    top_k: int | None = None
    guidance: float = 1.0  # classifier-free, by all optional conditions; 1 is off, else two rows a step
    guidance_by: dict[str, float] = field(default_factory=dict)  # and by single ones, a row more for each
    guidance_scored: float | None = None  # in guidance's place where the user gives values, a plan or a score
    guidance_story: float | None = None  # by MuLan's tokens, in guidance_by's place, where words change

    def __post_init__(self) -> None:
        _check(self, "semantic_stage", part="stride")

    def under_score(self) -> "SemanticSettings":
        """Those of music whose values, plan or score the user gives."""
        return self if self.guidance_scored is None else replace(self, guidance=self.guidance_scored)

    def of_story(self) -> "SemanticSettings":
        """Those of music whose words change."""
        if self.guidance_story is None:
            return self
        return replace(self, guidance_by={**self.guidance_by, "mulan": self.guidance_story})


@dataclass(frozen=True)
class CoarseSettings:
    """How the coarse stage is sampled."""

    window: float = 10.0
    carry: float = 5.0  # of the window before, what the next one starts from
    temperature: float = 0.95
    top_k: int | None = None
    guidance: float = 1.0

    def __post_init__(self) -> None:
        _check(self, "coarse_stage", part="carry")


@dataclass(frozen=True)
class FineSettings:
    """How the fine stage is sampled."""

    window: float = 3.0
    temperature: float = 0.4

    def __post_init__(self) -> None:
        _check(self, "fine_stage")


@dataclass(frozen=True)
class CodecSettings:
    """How the codec decodes block by block."""

    context: int = 32  # frames of codes that its decoder sees on either side of a block

    def __post_init__(self) -> None:
        _check(self, "codec")


@dataclass(frozen=True)
class DenoiserSettings:
    """How a denoiser is sampled, in windows of seconds."""

    window: float = 6.0
    carry: float = 1.5  # of the window before, what the next one starts from
    steps: int = 10  # passes over a window
    schedule: Schedule = "linear"
    order: int = 2  # of the solver
    guidance: float = 1.0  # classifier-free, by all conditions; 1 is off, else a row more
    guidance_by: dict[str, float] = field(default_factory=dict)  # and by single ones, a row more for each
    guidance_from: float = 0.0  # shares of the way from noise, 1, to data, 0, between which it is guided
    guidance_until: float = 1.0

    def __post_init__(self) -> None:
        _check(self, "denoiser", part="carry")


@dataclass(frozen=True)
class AutoencoderSettings:
    """How latents are decoded block by block."""

    context: int = 32  # frames of latents that the decoder sees on either side of a block

    def __post_init__(self) -> None:
        _check(self, "autoencoder")


@dataclass(frozen=True)
class GenerationSettings:
    """The settings of all components of a model that have some."""

    ROLES: ClassVar[dict[str, str]] = {  # of the fields
        "semantic": "semantic_stage",
        "coarse": "coarse_stage",
        "fine": "fine_stage",
        "codec": "codec",
        "denoiser": "denoiser",
        "autoencoder": "autoencoder",
    }
    semantic: SemanticSettings = field(default_factory=SemanticSettings)
    coarse: CoarseSettings = field(default_factory=CoarseSettings)
    fine: FineSettings = field(default_factory=FineSettings)
    codec: CodecSettings = field(default_factory=CodecSettings)
    denoiser: DenoiserSettings = field(default_factory=DenoiserSettings)
    autoencoder: AutoencoderSettings = field(default_factory=AutoencoderSettings)


KINDS: dict[str, type[Any]] = {  # of the fields
    "semantic": SemanticSettings,
    "coarse": CoarseSettings,
    "fine": FineSettings,
    "codec": CodecSettings,
    "denoiser": DenoiserSettings,
    "autoencoder": AutoencoderSettings,
}


def read_settings(components: "Mapping[str, Component]", place: str) -> GenerationSettings:
    """The settings that a bundle's components have.

    Args:
        components: by role.
        place: where they are written, for messages.

    Raises:
        ValueError: a component has settings that it does not know, or values of another type or out of range.
    """
    kinds = GenerationSettings.ROLES.values()
    for other, component in components.items():
        if component.settings and other not in kinds:
            raise ValueError(
                f"expected settings of {', '.join(kinds)}, got some of {other} at {place}: it has none"
            )
    found: dict[str, Any] = {}
    for name, kind in KINDS.items():
        role = GenerationSettings.ROLES[name]
        if role in components:
            try:
                found[name] = read(kind, components[role].settings, f"{place}: {role}.settings")
            except ValueError as error:
                raise ValueError(f"expected the settings of generation: {error}") from None
    return GenerationSettings(**found)


def _check(settings: Any, role: str, part: str = "") -> None:
    for each in fields(settings):
        value = getattr(settings, each.name)
        if isinstance(value, dict):
            for name, scale in value.items():
                if not -HOTTEST <= scale <= HOTTEST:
                    raise ValueError(
                        f"expected {each.name} of {role} of at most {HOTTEST:g}, got {name}: {scale}"
                    )
            continue
        if value is None or isinstance(value, str):
            continue
        least, most = RANGES[each.name]
        if not least <= value <= most:  # nor is NaN
            raise ValueError(f"expected {each.name} of {role} of {least:g} to {most:g}, got {value:g}")
    if part and settings.window - getattr(settings, part) < SHORTEST:
        raise ValueError(
            f"expected a {part} of {role} {SHORTEST:g} s shorter than its window or more, got "
            f"{getattr(settings, part):g} of {settings.window:g} s"
        )
