"""ConvNeXt blocks over frames (arXiv 2201.03545): what the spectral trunk of the codec is made of."""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musiclm.tokenizers.streaming import Residual, Stream, chain, convolution, each

KERNEL_SIZE = 7  # frames; ConvNeXt, arXiv 2201.03545, sec. 2.5


class ConvNeXtBlock(nn.Module):
    """Depthwise convolution over time, then a perceptron per frame, added to the input [B, T, D]."""

    def __init__(self, width: int, hidden: int, *, scale: float) -> None:
        super().__init__()
        self.mix = nn.Conv1d(width, width, KERNEL_SIZE, padding=KERNEL_SIZE // 2, groups=width)
        self.norm = nn.LayerNorm(width)
        self.expand = nn.Linear(width, hidden)
        self.contract = nn.Linear(hidden, width)
        self.scale = nn.Parameter(torch.full((width,), scale))

    def forward(self, frames: Tensor) -> Tensor:
        return frames + self._perceptron(self.mix(frames.mT).mT)

    def stream(self) -> Stream:
        """`forward` chunk by chunk; the time is the last axis: [B, D, T]."""
        margin = KERNEL_SIZE // 2
        mix = convolution(self.mix, before=margin, after=margin)
        return Residual(chain([mix, each(lambda mixed: self._perceptron(mixed.mT).mT)]))

    def _perceptron(self, mixed: Tensor) -> Tensor:
        return self.scale * self.contract(F.gelu(self.expand(self.norm(mixed))))


def blocks(width: int, hidden: int, depth: int) -> nn.Sequential:
    """`depth` blocks whose residual branches begin small, so that a deep stack begins near the identity."""
    return nn.Sequential(*[ConvNeXtBlock(width, hidden, scale=1.0 / depth) for _ in range(depth)])


def stream_blocks(stack: nn.Sequential) -> Stream:
    """`blocks` chunk by chunk: [B, D, T]."""
    return chain([cast(ConvNeXtBlock, block).stream() for block in stack])
