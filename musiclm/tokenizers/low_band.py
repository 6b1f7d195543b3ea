"""The lowest bins of the codec's spectrum, straight from its latents.

A bass is heard by its frequency, and where phases are reconstructed, the frequency is read off the fine shape
of low magnitudes (`phase.py`). A decoder that is trained with the target's phases is never asked for that
shape: overlapping frames give the frequency, whatever the magnitudes look like. This head is asked for
nothing else (`musiclm.training.low_band`), and takes the decoder's place below about a kilohertz.
"""

from torch import Tensor, nn

from musiclm.tokenizers.convnext_blocks import KERNEL_SIZE, blocks, stream_blocks
from musiclm.tokenizers.streaming import Stream, chain, convolution, each


class LowBand(nn.Module):
    """Latents [B, dimension, T] to log magnitudes [B, T, bins] of the lowest bins.

    Args:
        dimension: of the latents.
        bins: how many; 84 of 12.5 Hz end at 1,050 Hz.
        width, hidden, depth: of the blocks.
    """

    def __init__(
        self, dimension: int, *, bins: int = 84, width: int = 256, hidden: int = 768, depth: int = 3
    ) -> None:
        super().__init__()
        self.bins = bins
        self.embed = nn.Conv1d(dimension, width, KERNEL_SIZE, padding=KERNEL_SIZE // 2)
        self.norm_in = nn.LayerNorm(width)
        self.blocks = blocks(width, hidden, depth)
        self.norm_out = nn.LayerNorm(width)
        self.head = nn.Linear(width, bins)

    def forward(self, latents: Tensor) -> Tensor:
        return self._leave(self.blocks(self.norm_in(self.embed(latents).mT)))

    def stream(self) -> Stream:
        """`forward` chunk by chunk; the time is the last axis: [B, bins, T]."""
        margin = KERNEL_SIZE // 2
        embed = convolution(self.embed, before=margin, after=margin)
        enter = each(lambda frames: self.norm_in(frames.mT).mT)
        leave = each(lambda frames: self._leave(frames.mT).mT)
        return chain([embed, enter, stream_blocks(self.blocks), leave])

    def _leave(self, frames: Tensor) -> Tensor:
        """Log magnitudes [B, T, bins] of what the blocks give."""
        level: Tensor = self.head(self.norm_out(frames)).float()
        return level
