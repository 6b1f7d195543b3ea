"""Which acoustic decoder a bundle's components make."""

from collections.abc import Callable
from dataclasses import replace

import torch

from musiclm.bundle import Bundle
from musiclm.generation.acoustic_decoder import AcousticDecoder
from musiclm.generation.diffusion_decoder import DiffusionDecoder
from musiclm.generation.settings import GenerationSettings
from musiclm.generation.token_decoder import TokenDecoder
from musiclm.stages.stage import Stage
from musiclm.tokenizers.codec_latents import CodecAutoencoder, CodecLatents


def decoder_of(
    bundle: Bundle, stage: Callable[[str], Stage], settings: GenerationSettings, device: torch.device
) -> AcousticDecoder:
    """By diffusion where there is a denoiser; else by the coarse and the fine stage.

    Args:
        bundle: with the components.
        stage: loads a stage by its role, ready to decode.
        settings: of the components.
        device: where they go.

    Raises:
        ValueError: a component that is needed is missing or does not fit.
    """
    if "denoiser" not in bundle.components:
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
    denoiser = bundle.load("denoiser").to(device)
    if (autoencoder.dimension, autoencoder.frame_rate) != (denoiser.dimension, denoiser.frame_rate):
        raise ValueError(
            f"expected a denoiser of the autoencoder's latents, {autoencoder.dimension} dimensions at "
            f"{autoencoder.frame_rate:g} Hz, got {denoiser.dimension} at {denoiser.frame_rate:g} Hz"
        )
    return DiffusionDecoder(
        autoencoder,
        denoiser,
        denoiser_settings=settings.denoiser,
        autoencoder_settings=settings.autoencoder,
    )


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
