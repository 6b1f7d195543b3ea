"""A plain denoiser: a bidirectional transformer with rotary positions and depthwise convolutions.

Neighbouring frames are folded into one position, the semantic tokens are added to the positions of their
time, and the time of a position and what holds for the whole clip shift, scale and gate every block (adaLN of
DiT, 2212.09748; computed once for all blocks as in PixArt-α, 2310.00426).
"""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from musiclm.diffusion.conditions import ConditionEmbedding
from musiclm.diffusion.denoiser import Denoiser, TimeEmbedding, denoiser_segments, folded, unfolded
from musiclm.diffusion.process import choose_process
from musiclm.diffusion.rotary import rotated, rotation
from musiclm.stages.adapters import MATRICES, Matrix
from musiclm.stages.streams import MUSICLM, Stream

MODULATIONS = 6  # shift, scale and gate of attention with convolution, and of the feed-forward


class DiffusionTransformer(Denoiser):
    """The plain one.

    Args:
        process: that it is trained and sampled with, `angle` or `flow`.
        dimension: D, of a latent.
        frame_rate: latents per second.
        width: of the positions.
        layers, heads: of the transformer.
        feed_forward: width of the gated feed-forward.
        kernel: positions that a depthwise convolution sees.
        fold: frames to a position.
        embedding_width: of the tables of codes.
        streams: there are, `semantic` among them.
        conditions: names of the others that it follows; None for all that say something about the music.
        unfolded_width: of the embeddings of conditions with long frames, as a melody's.
        combined: names of the conditions whose levels mean something together, as a chord's root and quality.
    """

    def __init__(
        self,
        *,
        process: str = "angle",
        dimension: int = 24,
        frame_rate: float = 50.0,
        width: int = 320,
        layers: int = 6,
        heads: int = 5,
        feed_forward: int = 800,
        kernel: int = 7,
        fold: int = 2,
        embedding_width: int = 64,
        streams: Sequence[Stream] = MUSICLM,
        conditions: Sequence[str] | None = None,
        unfolded_width: int = 64,
        combined: Sequence[str] = (),
    ) -> None:
        super().__init__()
        if width % heads or width // heads % 2 or kernel % 2 == 0 or fold < 1:
            raise ValueError(
                "expected a width that heads of an even width share, an odd kernel and a fold of 1 or more, "
                f"got {width} of {heads} heads, {kernel} and {fold}"
            )
        self.process = choose_process(process)
        self.dimension = dimension
        self.frame_rate = frame_rate
        self.fold = fold
        self.head_width = width // heads
        self.segments = denoiser_segments(
            streams, conditions, unfolded_width=unfolded_width, combined=combined
        )
        self.told = ConditionEmbedding(
            self.segments, rate=frame_rate / fold, narrow=embedding_width, width=width
        )
        self.time = TimeEmbedding(width)
        self.modulation = nn.Linear(width, MODULATIONS * width)
        self.noisy_in = nn.Linear(fold * dimension, width)
        self.blocks = nn.ModuleList(Block(width, heads, feed_forward, kernel) for _ in range(layers))
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.velocity_out = nn.Linear(width, fold * dimension)
        self._initialise(layers)

    def forward(self, state: Tensor, time: Tensor, codes: Mapping[str, Tensor]) -> Tensor:
        """See `Denoiser`."""
        noisy = folded(state, self.fold)  # [B, P, fold * D]
        batch, positions, _ = noisy.shape
        whole, told = self.told(codes, batch, positions)
        at = time.view(batch, positions, self.fold).mean(dim=2)
        modulated = self.modulation(nn.functional.silu(self.time(at) + whole)).unflatten(
            2, (MODULATIONS, -1)
        )  # [B, P, 6, W]
        x = self.noisy_in(noisy) + told
        turns = rotation(torch.arange(positions, device=x.device), self.head_width)
        for block in self.blocks:
            x = block(x, modulated, turns)
        return unfolded(self.velocity_out(self.norm(x)), self.fold)

    def matrices_to_adapt(self) -> list[dict[Matrix, str]]:
        """See `Adaptable`."""
        own: dict[Matrix, str] = {"attention_out": "mixed"}
        blocks = range(len(self.blocks))
        return [{name: f"blocks.{number}.{own.get(name, name)}" for name in MATRICES} for number in blocks]

    def _initialise(self, layers: int) -> None:
        for matrix in self.modules():
            if isinstance(matrix, nn.Linear) and matrix.bias is not None:
                nn.init.normal_(matrix.weight, std=matrix.in_features**-0.5)
                nn.init.zeros_(matrix.bias)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.velocity_out.weight)
        for block in self.blocks:
            cast(Block, block).initialise(layers)


class Block(nn.Module):
    """Self-attention beside a depthwise convolution, then a gated feed-forward, each added to its input."""

    def __init__(self, width: int, heads: int, feed_forward: int, kernel: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = width // heads
        self.norm = nn.RMSNorm(width, eps=1e-6, elementwise_affine=False)
        self.modulation = nn.Parameter(torch.zeros(MODULATIONS, width))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.convolution = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
        self.mixed = nn.Linear(width, width, bias=False)
        self.feed_forward_in = nn.Linear(width, 2 * feed_forward, bias=False)  # gate, value
        self.feed_forward_out = nn.Linear(feed_forward, width, bias=False)

    def forward(self, x: Tensor, modulated: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        """Positions [B, P, W], shifted and scaled by [B, P, 6, W]."""
        shift, scale, gate, shift_2, scale_2, gate_2 = (modulated + self.modulation).unbind(dim=2)
        seen = self.norm(x) * (1 + scale) + shift
        x = x + (1 + gate) * self._mix(seen, turns)
        seen = self.norm(x) * (1 + scale_2) + shift_2
        opened, value = self.feed_forward_in(seen).chunk(2, dim=-1)
        return x + (1 + gate_2) * self.feed_forward_out(nn.functional.silu(opened) * value)

    def initialise(self, layers: int) -> None:
        """What a block adds is small at first: the more of them, the smaller."""
        for matrix in (self.qkv, self.feed_forward_in):
            nn.init.normal_(matrix.weight, std=matrix.in_features**-0.5)
        for matrix in (self.mixed, self.feed_forward_out):
            nn.init.normal_(matrix.weight, std=(2 * layers * matrix.in_features) ** -0.5)

    def _mix(self, x: Tensor, turns: tuple[Tensor, Tensor]) -> Tensor:
        batch, positions, _ = x.shape
        split = self.qkv(x).view(batch, positions, 3, self.heads, self.head_width).permute(2, 0, 3, 1, 4)
        queries, keys = (rotated(each, turns) for each in split[:2])  # [B, H, P, W / H]
        # Written out: of so few positions, the backward of the fused attention costs more than it saves.
        scores = queries @ keys.transpose(2, 3) * self.head_width**-0.5
        attended = (scores.softmax(dim=-1) @ split[2]).transpose(1, 2).flatten(2)
        near = self.convolution(x.transpose(1, 2)).transpose(1, 2)
        mixed: Tensor = self.mixed(attended + near)
        return mixed
