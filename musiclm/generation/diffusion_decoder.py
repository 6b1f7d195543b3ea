"""An acoustic decoder by diffusion: semantic tokens → latents → sound (MeLoDy, 2305.15719, sec. 3).

Latents are made window by window. A window's first frames are those of the one before, known to the denoiser
as context, and so are those of an audio prompt, and those on either side of a gap that is filled; the others
come from noise in a few passes over all of them at once. The autoencoder decodes them block by block, as the
codec does.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence

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
        rate = self.denoiser.frame_rate
        ratio = round(rate / semantic.frame_rate)
        windows = self._windows(schedule, ratio)
        recent = torch.empty(len(generators), self.denoiser.dimension, 0, device=generators[0].device)
        if known is not None:
            recent = known.expand(len(generators), -1, -1)
        begin = done = recent.shape[2]
        while done < begin + frames:
            start, end = windows.window(done)
            end = min(end, begin + frames)
            first = start // ratio
            tokens = semantic.first(first + math.ceil((end - start) / ratio))[:, :, first:]
            context = recent[:, :, recent.shape[2] - (done - start) :]
            new = self._window(
                torch.nn.functional.pad(context, (0, end - done)),
                (done - start, end - start),
                tokens,
                self._conditions(schedule, len(generators), windows, start - begin, done - begin),
                generators,
                self._counting(on_progress, done - begin, end - begin, frames),
            )
            recent = torch.cat([context, new], dim=2)
            yield new
            done = end

    @torch.inference_mode()
    def fill(
        self,
        latents: Tensor,
        gap: tuple[int, int],
        tokens: Tensor,
        schedule: ConditioningSchedule,
        *,
        generator: torch.Generator,
        on_progress: OnProgress,
    ) -> Tensor:
        """Latents [1, D, F] with a gap filled; those on either side are its context, and stay.

        Args:
            latents: [1, D, F]; what stands in the gap counts for nothing.
            gap: its first frame, and the first after it; both where a position and a semantic token begin.
            tokens: semantic ones [1, 1, T] of the same time, F / T frames each.
            schedule: what the music is to be, in seconds from where the gap begins.
            generator: source of randomness.
            on_progress: called as it advances.
        """
        first, last = gap
        ratio = latents.shape[2] // tokens.shape[2]
        windows = self._windows(schedule, ratio)
        latents = latents.clone()
        done = first
        while done < last:
            start = max(done - windows.carry, 0)
            stop = min(start + windows.length, latents.shape[2])
            end = min(stop, last)
            if end == last and stop - last < min(windows.carry, latents.shape[2] - last):
                # It sees the gap's end, and too little of what comes after: half of it is left to the next.
                end = max(done + (last - done) // 2 // windows.carry * windows.carry, done + windows.carry)
                end = min(end, last)
            latents[:, :, done:end] = self._window(
                latents[:, :, start:stop],
                (done - start, min(stop, last) - start),
                tokens[:, :, start // ratio : math.ceil(stop / ratio)],
                self._conditions(schedule, 1, windows, start - first, done - first),
                [generator],
                self._counting(on_progress, done - first, end - first, last - first),
            )[:, :, : end - done]
            done = end
        return latents

    def _windows(self, schedule: ConditioningSchedule, ratio: int) -> WindowSchedule:
        """Windows that begin where a position of the denoiser and a semantic token of `ratio` frames do."""
        settings, unit = self.denoiser_settings, math.lcm(self.denoiser.fold, ratio)
        hop = schedule.hop(self.denoiser.segments)
        return WindowSchedule.of(
            settings.window, settings.carry, self.denoiser.frame_rate, unit=unit, hop=hop
        )

    def _conditions(
        self, schedule: ConditioningSchedule, rows: int, windows: WindowSchedule, begin: int, moment: int
    ) -> dict[str, Tensor]:
        """Those of a window that begins at a frame, and in which a later one is the first new one."""
        rate = self.denoiser.frame_rate
        return schedule.conditions(
            self.denoiser.segments,
            rows,
            moment=moment / rate,
            begin=begin / rate,
            length=windows.length / rate,
        )

    def _counting(self, on_progress: OnProgress, done: int, end: int, frames: int) -> Callable[[int], None]:
        """Says how much of all frames is made while the steps of a window are taken."""

        def on_step(step: int) -> None:
            on_progress("denoise", done + (end - done) * step // self.denoiser_settings.steps, frames)

        return on_step

    def _window(
        self,
        latents: Tensor,
        gap: tuple[int, int],
        tokens: Tensor,
        conditions: Mapping[str, Tensor],
        generators: Sequence[torch.Generator],
        on_step: Callable[[int], None],
    ) -> Tensor:
        """The latents [N, D, gap] of a gap in a window, all frames around which are known.

        Args:
            latents: [N or 1, D, T]; those of the gap count for nothing.
            gap: its first frame, and the first after it.
            tokens: semantic ones of the window.
            conditions: others.
            generators: N sources of randomness.
            on_step: called with the number of steps that are done.
        """
        settings, fold = self.denoiser_settings, self.denoiser.fold
        frames = latents.shape[2]
        whole = -(-frames // fold) * fold  # a position more than is needed, at most
        first, last = gap
        place = torch.arange(whole, device=latents.device)
        # A position is known whole or not at all.
        is_known = (place < first // fold * fold) | ((place >= -(-last // fold) * fold) & (place < frames))
        made = sample_latents(
            self.denoiser,
            {**conditions, "semantic": tokens.expand(len(generators), -1, -1)},
            frames=whole,
            generators=generators,
            steps=settings.steps,
            schedule=settings.schedule,
            order=settings.order,
            guidance=Guidance(
                settings.guidance_by, settings.guidance, (settings.guidance_from, settings.guidance_until)
            ),
            known=torch.nn.functional.pad(latents, (0, whole - frames)),
            is_known=is_known,
            on_step=on_step,
        )
        return made[:, :, first:last]
