"""MusicLM's acoustic decoder: semantic tokens → coarse → fine codes → codec (MusicLM, sec. 3.2 and 4.2).

A block of coarse codes asks for the semantic tokens that it covers, is drawn in a window that carries on from
the last frames of the one before, and its fine codes in short windows side by side. The codec decodes the
block with the frames around it. So the first block comes early, and a window costs the same wherever it
stands.
"""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from musiclm.generation.block_decoding import decode_blocks, joint_frames
from musiclm.generation.conditioning import ConditioningSchedule
from musiclm.generation.semantic_sampler import SemanticTokens
from musiclm.generation.settings import CoarseSettings, CodecSettings, FineSettings
from musiclm.generation.windows import OnProgress, WindowSchedule, counting
from musiclm.stages.decoding import sample_codes
from musiclm.stages.stage import Stage
from musiclm.tokenizers.protocols import AcousticTokenizer


class TokenDecoder:
    """Draws acoustic codes for semantic tokens and decodes them; an `AcousticDecoder`.

    Args:
        codec: whose codes the stages speak.
        coarse, fine: the stages.
        coarse_settings, fine_settings: how they are sampled.
        codec_settings: how the codec decodes block by block.
    """

    def __init__(
        self,
        codec: AcousticTokenizer,
        coarse: Stage,
        fine: Stage,
        *,
        coarse_settings: CoarseSettings | None = None,
        fine_settings: FineSettings | None = None,
        codec_settings: CodecSettings | None = None,
    ) -> None:
        self.codec = codec
        self.coarse = coarse
        self.fine = fine
        self.coarse_settings = coarse_settings or CoarseSettings()
        self.fine_settings = fine_settings or FineSettings()
        self.codec_settings = codec_settings or CodecSettings()
        self.sample_rate = codec.sample_rate
        self.hop_length = codec.hop_length
        self.carried_seconds = self.coarse_settings.carry
        self.joint_length = joint_frames(codec) * codec.hop_length

    def follows(self, condition: str) -> bool:
        """See `AcousticDecoder.follows`."""
        return self.coarse.layout.has_condition(condition)

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
        known = None if prefix is None else self.codec.encode(prefix)  # [1, Q, T]
        codes = AcousticCodes(
            self,
            semantic,
            schedule,
            frames=math.ceil(length / self.codec.hop_length),
            generators=generators,
            known=known,
            on_progress=on_progress,
        )
        yield from decode_blocks(
            codes,
            self.codec,
            self.codec_settings.context,
            rows=len(generators),
            frames=codes.frames - codes.known,
            prefix=prefix,
            known=known,
        )


class AcousticCodes:
    """The acoustic codes of a piece: iterate for blocks [N, Q, t] of the new music.

    Args:
        decoder: whose stages draw them.
        semantic: tokens that they are to sound like.
        schedule: what the piece is to be.
        frames: that are to be drawn.
        generators: the source of each sample's randomness.
        known: codes [1, Q, T] of an audio prompt's end.
        on_progress: called as the stages advance.
    """

    def __init__(
        self,
        decoder: TokenDecoder,
        semantic: SemanticTokens,
        schedule: ConditioningSchedule,
        *,
        frames: int,
        generators: Sequence[torch.Generator],
        known: Tensor | None = None,
        on_progress: OnProgress,
    ) -> None:
        self.coarse, self.fine = decoder.coarse, decoder.fine
        self.coarse_settings, self.fine_settings = decoder.coarse_settings, decoder.fine_settings
        self.semantic = semantic
        self.schedule = schedule
        self.generators = generators
        self.on_progress = on_progress
        target = self.coarse.layout.target
        self.frame_rate = target.frame_rate
        self.ratio = round(self.frame_rate / semantic.frame_rate)  # windows begin where a semantic token does
        self.windows = WindowSchedule.of(
            self.coarse_settings.window,
            self.coarse_settings.carry,
            self.frame_rate,
            unit=self.ratio,
            hop=schedule.hop(self.coarse.layout.conditions),
        )
        device = self.coarse.embedding.weight.device
        nothing = torch.empty(1, target.levels, 0, dtype=torch.int64, device=device)
        self.begin = nothing if known is None else known[:, : target.levels]
        self.known = self.begin.shape[2]
        self.frames = self.known + frames

    def __iter__(self) -> Iterator[Tensor]:
        done, recent = self.known, self.begin.expand(len(self.generators), -1, -1)
        while done < self.frames:
            start, end = self.windows.window(done)
            end = min(end, self.frames)
            kept = done - start
            recent = self._coarse(recent[:, :, recent.shape[2] - kept :], start, end)  # [N, 4, end - start]
            new = recent[:, :, kept:]
            yield torch.cat([new, self._fine(new, done)], dim=1)
            done = end

    def _coarse(self, prompt: Tensor, start: int, end: int) -> Tensor:
        """Coarse codes [N, 4, end - start] that go on from `prompt` [N, 4, T], the first of them."""
        rows, done = len(self.generators), start + prompt.shape[2]
        first = start // self.ratio
        last = first + math.ceil((end - start) / self.ratio) + self.coarse.layout.lookahead
        conditions = self.schedule.conditions(
            self.coarse.layout.conditions,
            rows,
            moment=(done - self.known) / self.frame_rate,
            begin=(start - self.known) / self.frame_rate,
            length=self.windows.length / self.frame_rate,
        )
        semantic = self.semantic.first(last)[:, :, first:]
        return sample_codes(
            self.coarse,
            {**conditions, "semantic": semantic.expand(rows, -1, -1)},
            frames=end - start,
            prompt=prompt if prompt.shape[2] else None,
            temperature=self.coarse_settings.temperature,
            top_k=self.coarse_settings.top_k,
            guidance=self.coarse_settings.guidance,
            generator=self.generators,
            on_step=counting(self.on_progress, "coarse", done - self.known, self.frames - self.known),
        )

    def _fine(self, coarse: Tensor, done: int) -> Tensor:
        """Fine codes [N, 8, t] for coarse codes [N, 4, t]: windows of equal length in one batch."""
        rows, _, total = coarse.shape
        window = min(round(self.fine_settings.window * self.frame_rate), total)
        starts = [min(start, total - window) for start in range(0, total, window)]  # the last may overlap
        ahead = self.fine.layout.lookahead  # frames beyond a window; past the end, the last one stands still
        seen = torch.cat([coarse, coarse[:, :, -1:].expand(-1, -1, ahead)], dim=2)
        windows = torch.stack([seen[:, :, start : start + window + ahead] for start in starts], dim=1)
        made, all_frames = done - self.known, self.frames - self.known
        fine = sample_codes(
            self.fine,
            {"coarse": windows.flatten(0, 1)},  # a sample's windows beside each other
            frames=window,
            temperature=self.fine_settings.temperature,
            generator=self.generators,
            on_step=counting(self.on_progress, "fine", made, all_frames),
        ).unflatten(0, (rows, len(starts)))  # [N, windows, 8, window]
        self.on_progress("fine", made + total, all_frames)
        overlap = len(starts) * window - total
        return torch.cat([*fine[:, :-1].unbind(dim=1), fine[:, -1, :, overlap:]], dim=2)
