"""Which acoustic decoder a bundle's components make, and which is meant where they make two."""

from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Literal, get_args

import torch

from musiclm.bundle import Bundle
from musiclm.bundle.adapters import Adapters
from musiclm.bundle.component import DECODERS
from musiclm.generation.acoustic_decoder import AcousticDecoder
from musiclm.generation.diffusion_decoder import DiffusionDecoder
from musiclm.generation.settings import GenerationSettings
from musiclm.generation.token_decoder import TokenDecoder
from musiclm.stages.stage import Stage
from musiclm.tokenizers.codec_latents import CodecAutoencoder, CodecLatents

DecoderName = Literal["tokens", "diffusion"]
DecoderChoice = Literal["auto", "tokens", "diffusion"]


def choose_decoder(choice: DecoderChoice, bundle: Bundle, adapted: Collection[str] = ()) -> DecoderName:
    """The decoder of a bundle that a choice means.

    Args:
        choice: `auto` is diffusion where there is a denoiser, unless adapters change the other alone.
        bundle: with the components.
        adapted: roles of the networks that adapters change.

    Raises:
        ValueError: the bundle has no such decoder.
    """
    if choice not in get_args(DecoderChoice):
        raise ValueError(f"expected a decoder of {', '.join(get_args(DecoderChoice))}, got {choice!r}")
    if choice == "auto":
        for_tokens = "denoiser" not in adapted and not DECODERS["tokens"].isdisjoint(adapted)
        by_tokens = "denoiser" not in bundle.components or for_tokens
        return "tokens" if by_tokens else "diffusion"
    if missing := sorted(DECODERS[choice] - bundle.components.keys()):
        raise ValueError(
            f"expected a bundle with the component {missing[0]} to make sound by {choice}, {bundle.path} has "
            "none: choose another --bundle"
        )
    return choice


def decoder_of(
    bundle: Bundle,
    stage: Callable[[str], Stage],
    settings: GenerationSettings,
    device: torch.device,
    name: DecoderName,
    adapters: Adapters,
) -> AcousticDecoder:
    """By tokens, the coarse and the fine stage (MusicLM), or by diffusion (MeLoDy).

    Args:
        bundle: with the components.
        stage: loads a stage by its role, ready to decode.
        settings: of the components.
        device: where they go.
        name: which one.
        adapters: that change the denoiser, perhaps.

    Raises:
        ValueError: a component that is needed is missing or does not fit.
    """
    if name == "tokens":
        return TokenDecoder(
            bundle.load("codec").to(device),
            stage("coarse_stage"),
            stage("fine_stage"),
            coarse_settings=settings.coarse,
            fine_settings=settings.fine,
            codec_settings=settings.codec,
        )
    autoencoder = bundle.load("autoencoder").to(device)
    if isinstance(autoencoder, CodecLatents):
        autoencoder = CodecAutoencoder(bundle.load("codec").to(device), autoencoder)
    denoiser = adapters.merged("denoiser", bundle.load("denoiser")).to(device)
    if (autoencoder.dimension, autoencoder.frame_rate) != (denoiser.dimension, denoiser.frame_rate):
        raise ValueError(
            f"expected a denoiser of the autoencoder's latents, {autoencoder.dimension} dimensions at "
            f"{autoencoder.frame_rate:g} Hz, got {denoiser.dimension} at {denoiser.frame_rate:g} Hz"
        )
    if autoencoder.channels != 1:
        raise ValueError(f"expected an autoencoder of mono sound, got one of {autoencoder.channels} channels")
    return DiffusionDecoder(
        autoencoder,
        denoiser,
        denoiser_settings=settings.denoiser,
        autoencoder_settings=settings.autoencoder,
    )


def unheard(decoder: AcousticDecoder, adapted: Collection[str]) -> list[str]:
    """Roles of networks that adapters change, and of which this decoder makes no use."""
    name = "diffusion" if isinstance(decoder, DiffusionDecoder) else "tokens"
    others = frozenset[str]().union(*DECODERS.values()) - DECODERS[name]
    return sorted(others & set(adapted))


def filling(decoder: AcousticDecoder) -> DiffusionDecoder:
    """A decoder that fills gaps.

    Raises:
        ValueError: this one makes sound from left to right alone.
    """
    if not isinstance(decoder, DiffusionDecoder):
        raise ValueError(
            "expected a bundle with a denoiser to inpaint; this one draws its sound code by code, from left "
            "to right: choose another --bundle"
        )
    return decoder


def with_steps(decoder: AcousticDecoder, steps: int) -> AcousticDecoder:
    """A decoder by diffusion that takes so many passes over a window.

    Raises:
        ValueError: it is another decoder, or there are none or too many steps.
    """
    if not isinstance(decoder, DiffusionDecoder):
        raise ValueError(
            "expected a bundle with a denoiser for a number of steps; this one draws its sound code by code"
        )
    return DiffusionDecoder(
        decoder.autoencoder,
        decoder.denoiser,
        denoiser_settings=replace(decoder.denoiser_settings, steps=steps),
        autoencoder_settings=decoder.autoencoder_settings,
    )
