"""Which streams of a token store a part has learned."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from torch import nn

from musiclm.diffusion.denoiser import Denoiser
from musiclm.stages.stage import Stage
from musiclm.stages.streams import Stream
from musiclm.tokenizers.codec_latents import CodecLatents


def names_learned(part: object) -> set[str]:
    """Names of the streams that a part learns from tokens; none of what learns from audio."""
    if isinstance(part, Stage):
        return {segment.key for segment in part.layout.segments}
    if isinstance(part, Denoiser):
        return {segment.key for segment in part.segments}
    return {"acoustic"} if isinstance(part, CodecLatents) else set()


def learned_streams(part: nn.Module, streams: Iterable[Stream]) -> list[dict[str, Any]]:
    """Those of a store's streams that a part has learned, as its spec names them."""
    learned = names_learned(part)
    return [replace(stream, made_by=()).words() for stream in streams if stream.name in learned]
