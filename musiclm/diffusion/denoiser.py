"""What every denoiser is to the rest: the velocity of noisy latents, under conditions."""

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from musiclm.diffusion.conditions import ConditionEmbedding
from musiclm.diffusion.process import Process
from musiclm.stages.adapters import Adaptable
from musiclm.stages.layout import Segment
from musiclm.stages.segments import condition_segments, music_segment
from musiclm.stages.streams import Stream


class Denoiser(Adaptable, ABC):
    """A network that predicts the velocity of noisy latents; its kinds stand beside this file."""

    process: Process  # that it is trained and sampled with
    dimension: int  # D, of a latent
    frame_rate: float  # latents per second
    fold: int  # latents to a position; windows begin and end where a position does
    segments: tuple[Segment, ...]  # its conditions, each of which may be absent
    told: ConditionEmbedding
    training_state: tuple[str, ...] = ()

    @abstractmethod
    def forward(self, state: Tensor, time: Tensor, codes: Mapping[str, Tensor]) -> Tensor:
        """Velocities [B, D, T] of latents.

        Args:
            state: noisy latents [B, D, T]; T is a multiple of `fold`.
            time: of each frame [B, T], from 0 (data, which is context) to 1 (noise), as shares of the
                process's end.
            codes: [B, levels, T'] by condition; negative, or missing, or beyond their end: absent.
        """

    def start_from(self, codebooks: Mapping[str, Tensor]) -> None:
        """Let the conditions' codes begin as what they stand for: entries [levels, codebook_size, D']."""
        self.told.start_from(codebooks)


def denoiser_segments(
    streams: Sequence[Stream],
    conditions: Sequence[str] | None,
    *,
    unfolded_width: int,
    combined: Sequence[str] = (),
) -> tuple[Segment, ...]:
    """The conditions of a denoiser: semantic tokens, and what else the streams say of the music.

    Args:
        streams: there are, `semantic` among them.
        conditions: names of those beside it; None for all that there are tokens of.
        unfolded_width: of the embeddings of conditions with long frames, as a melody's.
        combined: names of those whose levels mean something together, as a chord's root and quality.

    Raises:
        ValueError: one is not there.
    """
    semantic = replace(music_segment(streams, "semantic"), optional=True)
    return (
        *condition_segments(streams, conditions, unfolded_width=unfolded_width, combined=combined),
        semantic,
    )


class TimeEmbedding(nn.Module):
    """Times as points on the arc between two learned vectors, then an MLP (MeLoDy, sec. 3.4).

    The paper's formula has the sine twice; an arc is meant: cos δ for the beginning, sin δ for the end.

    Args:
        width: of the result.
        arc: dimension of the two vectors.
    """

    def __init__(self, width: int, arc: int = 256) -> None:
        super().__init__()
        self.start = nn.Parameter(torch.randn(arc))
        self.end = nn.Parameter(torch.randn(arc))
        self.mlp = nn.Sequential(nn.RMSNorm(arc), nn.Linear(arc, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, time: Tensor) -> Tensor:
        """Embeddings [..., width] of times [...] from 0 to 1."""
        angle = time[..., None] * (math.pi / 2)
        embedded: Tensor = self.mlp(angle.cos() * self.start + angle.sin() * self.end)
        return embedded


def folded(values: Tensor, fold: int) -> Tensor:
    """Frames [B, D, T] as positions [B, T / fold, fold * D]."""
    batch, dimension, frames = values.shape
    return values.transpose(1, 2).reshape(batch, frames // fold, fold * dimension)


def unfolded(positions: Tensor, fold: int) -> Tensor:
    """Positions [B, P, fold * D] as frames [B, D, P * fold]."""
    batch, count, width = positions.shape
    return positions.reshape(batch, count * fold, width // fold).transpose(1, 2)
