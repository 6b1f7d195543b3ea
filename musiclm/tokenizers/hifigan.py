"""A decoder of latents to waveforms by upsampling convolutions: HiFi-GAN's generator (2010.05646, sec. 2.2).

MeLoDy's audio VAE-GAN decodes by one like it (2305.15719, sec. 3.4). It looks a few frames ahead.
"""

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

SLOPE = 0.1  # of the leaky rectifiers


class HiFiGANDecoder(nn.Module):
    """Latents [B, D, T] to a waveform [B, C, T * product of the ratios] in [-1, 1].

    Args:
        dimension: D.
        width: channels at the latents' rate, halved by each upsampling.
        ratios: upsampling factors in order; their product is the hop.
        kernels: of the residual blocks that are averaged after each upsampling.
        dilations: of the convolutions of each residual block.
        channels: C.
    """

    def __init__(
        self,
        dimension: int,
        *,
        width: int = 512,
        ratios: Sequence[int] = (6, 4, 2, 2),
        kernels: Sequence[int] = (3, 7, 11),
        dilations: Sequence[int] = (1, 3, 5),
        channels: int = 1,
    ) -> None:
        super().__init__()
        if width % 2 ** len(ratios):
            raise ValueError(f"expected a width that halves {len(ratios)} times, got {width}")
        if min(ratios) < 2 or any(kernel % 2 == 0 for kernel in kernels):
            raise ValueError(f"expected ratios of 2 or more and odd kernels, got {ratios} and {kernels}")
        widths = [width // 2**level for level in range(len(ratios) + 1)]
        self.first = nn.Conv1d(dimension, width, 7, padding=3)
        self.upsampling = nn.ModuleList(
            nn.ConvTranspose1d(
                before, after, 2 * ratio, stride=ratio, padding=(ratio + 1) // 2, output_padding=ratio % 2
            )
            for (before, after), ratio in zip(pairwise(widths), ratios, strict=True)
        )
        self.blocks = nn.ModuleList(
            MeanOf(ResidualBlock(after, kernel, dilations) for kernel in kernels) for after in widths[1:]
        )
        self.last = nn.Conv1d(widths[-1], channels, 7, padding=3)

    def forward(self, latents: Tensor, prefix: Tensor | None = None) -> Tensor:
        """The waveform; the latents determine its phase, however it began."""
        x = self.first(latents)
        for upsample, blocks in zip(self.upsampling, self.blocks, strict=True):
            x = upsample(functional.leaky_relu(x, SLOPE))
            x = blocks(x)
        waveform: Tensor = self.last(functional.leaky_relu(x, SLOPE)).tanh()
        return waveform


class MeanOf(nn.ModuleList):
    """The mean of what several layers make of the same."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([layer(x) for layer in self]).mean(dim=0)


class ResidualBlock(nn.Module):
    """Pairs of convolutions, the first of each dilated, each pair beside a way around it: [B, C, T]."""

    def __init__(self, width: int, kernel: int, dilations: Sequence[int]) -> None:
        super().__init__()
        self.dilated = nn.ModuleList(
            nn.Conv1d(width, width, kernel, dilation=dilation, padding=dilation * (kernel - 1) // 2)
            for dilation in dilations
        )
        self.plain = nn.ModuleList(
            nn.Conv1d(width, width, kernel, padding=(kernel - 1) // 2) for _ in dilations
        )

    def forward(self, x: Tensor) -> Tensor:
        for dilated, plain in zip(self.dilated, self.plain, strict=True):
            inner = dilated(functional.leaky_relu(x, SLOPE))
            x = x + plain(functional.leaky_relu(inner, SLOPE))
        return x
