"""What a denoiser learns: the velocity of noisy latents, under conditions that are sometimes left out.

Frames may have times of their own: a crop is cut into chunks, each at a time (MeLoDy, sec. 3.3); and in some
rows a part of the frames is context, at time 0, which the loss leaves out. So one network makes music from
nothing, goes on from what there is, and fills in gaps.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from musiclm.data.token_crops import TokenCrops
from musiclm.diffusion.denoiser import Denoiser
from musiclm.diffusion.process import Draw
from musiclm.tokenizers.autoencoder import WaveformAutoencoder
from musiclm.tokenizers.codec_latents import CodecLatents
from musiclm.tokenizers.residual_vq import sum_of_entries
from musiclm.training.dropout import drop_conditions

SPANS = 3  # of context in a row, at most


@dataclass(frozen=True)
class Noising:
    """How latents are noised in training.

    Args:
        times: how the times are drawn, see `Process.draw`.
        mean, std: of log(a / s) where they are drawn by it.
        chunks: of a crop, each with a time of its own (MeLoDy has 4 of 10 s).
        context: fraction of the rows in which some frames are known.

    Raises:
        ValueError: there is no chunk, or the fraction is none.
    """

    times: Draw = "uniform"
    mean: float = 0.0
    std: float = 1.0
    chunks: int = 1
    context: float = 0.5

    def __post_init__(self) -> None:
        if self.chunks < 1 or not 0 <= self.context <= 1:
            raise ValueError(
                f"expected one chunk or more and a context in [0, 1], got {self.chunks} and {self.context:g}"
            )


class VelocityLoss:
    """The mean squared error of a denoiser's velocity, on batches of token crops.

    Args:
        like: a denoiser whose process, positions and conditions it is for.
        latents: what they are denoised to: what the codes of `acoustic` stand for, or the store's `latents`.
        noising: how they are noised.
        dropped: share of the rows that lose each condition, as of `shares_dropped`.
        joint_dropout: share that loses all of them.
    """

    def __init__(
        self,
        like: Denoiser,
        latents: CodecLatents | WaveformAutoencoder,
        noising: Noising,
        *,
        dropped: Mapping[str, float],
        joint_dropout: float,
    ) -> None:
        rate = latents.frame_rate if isinstance(latents, WaveformAutoencoder) else like.frame_rate
        if (latents.dimension, rate) != (like.dimension, like.frame_rate):
            raise ValueError(
                f"expected a denoiser of {latents.dimension} dimensions at {rate:g} Hz, as the latents have "
                f"them, got {like.dimension} at {like.frame_rate:g} Hz"
            )
        self.process = like.process
        self.fold = like.fold
        self.segments = like.segments
        self.source = latents
        self.noising = noising
        self.dropped = dropped
        self.joint_dropout = joint_dropout
        self.codebooks = torch.zeros(0)

    def read(self, data: TokenCrops) -> None:
        """Take from the data what its codes stand for.

        Raises:
            ValueError: the tokens have neither such codes nor latents.
        """
        wanted = "acoustic" if isinstance(self.source, CodecLatents) else "latents"
        if wanted not in (names := [stream.name for stream in data.streams]):
            raise ValueError(
                f"expected tokens with {wanted}, of which the denoiser's latents are made, they have "
                f"{', '.join(names)}: tokenize with the bundle of the autoencoder"
            )
        if wanted == "acoustic":
            self.codebooks = data.codebooks["acoustic"].float()

    def learned(self, denoiser: Denoiser, batch: Mapping[str, Tensor]) -> Tensor:
        """The loss of a step, with noise, times, context and dropout drawn."""
        latents = self.latents(batch)
        codes = drop_conditions(self.codes(batch), self.dropped, joint=self.joint_dropout)
        times, is_known = self.drawn_times(len(latents), latents.shape[2], latents.device)
        return self.of(denoiser, latents, codes, times, is_known)

    @torch.no_grad()
    def measured(
        self, denoiser: Denoiser, batch: Mapping[str, Tensor], index: int, *, told: bool = True
    ) -> Tensor:
        """The loss of a batch over all times, with the same noise whenever it is measured.

        Args:
            denoiser: the network.
            batch: of held-out crops.
            index: of the batch: its seed.
            told: with its conditions, or without.
        """
        latents, codes = self.latents(batch), self.codes(batch) if told else {}
        rows, _, frames = latents.shape
        with torch.random.fork_rng():
            torch.manual_seed(index)
            nothing_known = torch.zeros(rows, frames, dtype=torch.bool, device=latents.device)
            share = (torch.arange(rows, device=latents.device)[:, None] + 0.5) / rows
            times = self._drawn(share.expand(rows, frames))
            return self.of(denoiser, latents, codes, times, nothing_known, torch.randn_like(latents))

    def latents(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Latents [B, D, T] of a batch, T a multiple of the denoiser's fold."""
        if isinstance(self.source, CodecLatents):
            codes = batch["acoustic"]
            self.codebooks = self.codebooks.to(codes.device)  # once
            vectors = sum_of_entries(self.codebooks, codes)
            latents: Tensor = self.source.to(codes.device).from_vectors(vectors)
        else:
            latents = batch["latents"]
        return latents[..., : latents.shape[2] // self.fold * self.fold]

    def codes(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The codes of the denoiser's conditions, [B, levels, T]."""
        return {
            segment.name: batch[segment.key][:, : segment.levels]
            for segment in self.segments
            if segment.key in batch
        }

    def of(
        self,
        denoiser: Denoiser,
        latents: Tensor,
        codes: Mapping[str, Tensor],
        times: Tensor,
        is_known: Tensor,
        noise: Tensor | None = None,
    ) -> Tensor:
        """The mean over all frames that are not known."""
        noise = torch.randn_like(latents) if noise is None else noise
        at = torch.where(is_known, 0.0, times)[:, None]  # [B, 1, T]
        state = self.process.noised(latents, noise, at)
        velocity = self.process.velocity(latents, noise, at)
        predicted = denoiser(state, at[:, 0] / self.process.end, codes)
        wrong = (predicted - velocity).square().mean(dim=1)  # [B, T]
        return (wrong * ~is_known).sum() / (~is_known).sum()

    def drawn_times(self, rows: int, frames: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Of each frame, its time, and whether it is known: [B, T] each; positions are never torn."""
        positions, chunks = frames // self.fold, self.noising.chunks
        chunk = torch.arange(positions, device=device) * chunks // positions
        times = self._drawn(torch.rand(rows, chunks, device=device))[:, chunk]
        known = torch.zeros(rows, positions, dtype=torch.bool, device=device)
        place = torch.arange(positions, device=device)
        for row in range(rows):
            if float(torch.rand(())) >= self.noising.context:
                continue
            if float(torch.rand(())) < 0.5:  # the beginning, to go on from
                known[row] = place < float(torch.rand(())) * 0.8 * positions
                continue
            spans = int(torch.randint(1, SPANS + 1, ()))
            for _ in range(spans):
                length = float(torch.rand(())) * 0.8 * positions / spans
                first = float(torch.rand(())) * (positions - length)
                known[row] |= (place >= first) & (place < first + length)
        return times.repeat_interleave(self.fold, dim=1), known.repeat_interleave(self.fold, dim=1)

    def _drawn(self, share: Tensor) -> Tensor:
        noising = self.noising
        return self.process.draw(share, noising.times, mean=noising.mean, std=noising.std)
