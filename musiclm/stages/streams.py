"""Streams: what is known of a recording at every moment beside its waveform, each kind described once.

A token store says which streams it holds, crops are cut by them, stages are built for them, and a bundle says
which ones a stage has learned. Whoever adds a condition adds a stream (docs/architecture.md).
"""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

Kind = Literal["tokens", "embeddings", "latents"]

MUSIC = ("semantic", "acoustic")  # the music itself; other streams say something about it


@dataclass(frozen=True)
class Stream:
    """One stream.

    Args:
        name: what it is called wherever it appears.
        levels: residual levels of tokens; 1 for what is no tokens.
        size: entries of a level's codebook, or the dimension of a vector.
        rate: frames per second; 0 for tokens of a whole clip.
        kind: `tokens` [levels, T], `embeddings` [T, size] on the unit sphere, whose quantizer makes tokens of
            them as they are used, or `latents` [size, T].
        hop: of embeddings, the seconds from one that a crop takes to its next; 0 for one of the whole crop.
        window: of embeddings, the seconds of music that one is of.
        made_by: roles of the components that make it; of embeddings, the last is their quantizer.

    Raises:
        ValueError: there is no such stream.
    """

    name: str
    levels: int
    size: int
    rate: float
    kind: Kind = "tokens"
    hop: float = 0.0
    window: float = 0.0
    made_by: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.levels < 1 or self.size < 1 or self.rate < 0 or self.hop < 0 or self.window < 0:
            raise ValueError(f"a stream needs levels, entries and no negative times, got {self}")
        if self.kind == "tokens" and self.size >= 2**16:  # the last one stands for absence
            raise ValueError(f"tokens are kept in 16 bits, got a codebook of {self.size} for {self.name}")
        if self.kind != "tokens" and not self.rate:
            raise ValueError(f"{self.kind} need a rate, got none for {self.name}")

    def words(self) -> dict[str, Any]:
        """Plain data of it: what is as by default is left out."""
        return {
            each.name: list(value) if isinstance(value, tuple) else value
            for each in fields(self)
            if (value := getattr(self, each.name)) != each.default
        }

    def as_tokens(self, levels: int, size: int) -> "Stream":
        """The tokens that a quantizer of these sizes makes of embeddings, a frame every `hop`."""
        rate = 1 / self.hop if self.hop else 0.0
        return replace(self, levels=levels, size=size, rate=rate, kind="tokens", hop=0.0, window=0.0)


def by_name(streams: Iterable[Stream]) -> dict[str, Stream]:
    """The streams by their names.

    Raises:
        ValueError: two are called the same.
    """
    streams = tuple(streams)
    found = {stream.name: stream for stream in streams}
    if len(found) < len(streams):
        raise ValueError(f"streams need names of their own, got {[stream.name for stream in streams]}")
    return found


# The components that make the project's own, by their roles in a bundle.
MADE_BY = {
    "semantic": ("semantic_encoder", "semantic_quantizer"),
    "acoustic": ("codec",),
    "mulan": ("joint_embedding", "joint_quantizer"),
    "melody": ("melody_embedding", "melody_quantizer"),
    "latents": ("autoencoder",),
}
# Those of MusicLM, as a stage meets them (sec. 4.1).
MUSICLM = (
    Stream("mulan", 12, 1024, 0.0, made_by=MADE_BY["mulan"]),
    Stream("semantic", 1, 1024, 25.0, made_by=MADE_BY["semantic"]),
    Stream("acoustic", 12, 1024, 50.0, made_by=MADE_BY["acoustic"]),
)
