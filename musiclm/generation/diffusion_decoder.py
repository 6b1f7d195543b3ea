"""An acoustic decoder by diffusion: semantic tokens → latents → sound (MeLoDy, 2305.15719, sec. 3).

Latents are made window by window. A window's first frames are those of the one before, known to the denoiser
as context, and so are those of an audio prompt; the others come from noise in a few passes over all of them
at once. The autoencoder decodes them block by block, as the codec does.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from musiclm.diffusion.denoiser import Denoiser
from musiclm.diffusion.sampling import Guidance, sample_latents
from musiclm.generation.block_decoding import decode_blocks, joint_frames
from musiclm.generation.conditioning import ConditioningSchedule
from musiclm.generation.semantic_sampler import SemanticTokens
from musiclm.generation.settings import AutoencoderSettings, DenoiserSettings
from musiclm.generation.windows import OnProgress, WindowSchedule
from musiclm.tokenizers.protocols import Autoencoder


class DiffusionDecoder:
    """Makes latents for semantic tokens and decodes them; an `AcousticDecoder`.

    Args:
        autoencoder: whose latents the denoiser makes.
        denoiser: the network.
        denoiser_settings: how it is sampled.
        autoencoder_settings: how latents are decoded block by block.
    """

    def __init__(
        self,
        autoencoder: Autoencoder,
        denoiser: Denoiser,
        *,
        denoiser_settings: DenoiserSettings | None = None,
        autoencoder_settings: AutoencoderSettings | None = None,
    ) -> None:
        self.autoencoder = autoencoder
        self.denoiser = denoiser
        self.denoiser_settings = denoiser_settings or DenoiserSettings()
        self.autoencoder_settings = autoencoder_settings or AutoencoderSettings()
        self.sample_rate = autoencoder.sample_rate
        self.hop_length = autoencoder.hop_length
        self.carried_seconds = self.denoiser_settings.carry
        self.joint_length = joint_frames(autoencoder) * autoencoder.hop_length

    def follows(self, condition: str) -> bool:
        """See `AcousticDecoder.follows`."""
        return any(segment.name == condition for segment in self.denoiser.segments)

    @torch.inference_mode()
    def decode(
        self,
        semantic: SemanticTokens,
        schedule: ConditioningSchedule,
        *,
        length: int,
        generators: Sequence[torch.Generator],
        prefix: Tensor | None = None,
        on_progress: OnProgress,
    ) -> Iterator[Tensor]:
        """Blocks [N, 1, l] of whole frames. See `AcousticDecoder.decode`."""
        known = None if prefix is None else self.autoencoder.encode(prefix)  # [1, D, T]
        frames = math.ceil(length / self.hop_length)
        yield from decode_blocks(
            self._latents(semantic, schedule, frames, generators, known, on_progress),
            self.autoencoder,
            self.autoencoder_settings.context,
            rows=len(generators),
            frames=frames,
            prefix=prefix,
            known=known,
        )

    def _latents(
        self,
        semantic: SemanticTokens,
        schedule: ConditioningSchedule,
        frames: int,
        generators: Sequence[torch.Generator],
        known: Tensor | None,
        on_progress: OnProgress,
    ) -> Iterator[Tensor]:
        """Blocks [N, D, t] of the latents of new music."""
        settings, rate = self.denoiser_settings, self.denoiser.frame_rate
        fold, ratio = self.denoiser.fold, round(rate / semantic.frame_rate)
        unit = math.lcm(fold, ratio)  # windows begin where a position and a semantic token do
        hop = schedule.hop(self.denoiser.segments)
        windows = WindowSchedule.of(settings.window, settings.carry, rate, unit=unit, hop=hop)
        guidance = Guidance(
            settings.guidance_by, settings.guidance, (settings.guidance_from, settings.guidance_until)
        )
        recent = torch.empty(len(generators), self.denoiser.dimension, 0, device=generators[0].device)
        if known is not None:
            recent = known.expand(len(generators), -1, -1)
        begin = done = recent.shape[2]
        while done < begin + frames:
            start, end = windows.window(done)
            end = min(end, begin + frames)
            kept = done - start
            whole = -(-(end - start) // fold) * fold  # a position more than is needed, at most
            context = recent[:, :, recent.shape[2] - kept :]
            first = start // ratio
            tokens = semantic.first(first + math.ceil((end - start) / ratio))[:, :, first:]
            conditions = schedule.conditions(
                self.denoiser.segments,
                len(generators),
                moment=(done - begin) / rate,
                begin=(start - begin) / rate,
                length=windows.length / rate,
            )
            place = torch.arange(whole, device=context.device)

            def on_step(step: int, done: int = done, end: int = end) -> None:
                made = done - begin + (end - done) * step // settings.steps
                on_progress("denoise", made, frames)

            latents = sample_latents(
                self.denoiser,
                {**conditions, "semantic": tokens.expand(len(generators), -1, -1)},
                frames=whole,
                generators=generators,
                steps=settings.steps,
                schedule=settings.schedule,
                order=settings.order,
                guidance=guidance,
                known=torch.nn.functional.pad(context, (0, whole - kept)),
                is_known=place < kept // fold * fold,
                on_step=on_step,
            )
            new = latents[:, :, kept : end - start]
            recent = torch.cat([context, new], dim=2)
            yield new
            done = end
