"""MeLoDy's dual-path denoiser (2305.15719, sec. 3.4): a coarse path across segments, a fine one within them.

The noisy latents are cut into half-overlapping segments of K frames. In every block a coarse path sees a few
columns of each segment, their means, over the whole length: self-attention with rotary positions, and
cross-attention to the semantic tokens. What it finds is repeated to all columns and added. Then a fine path
goes through each segment alone: two layers of bidirectional simple recurrent units (SRU, 1709.02755),
modulated by the time of the segment and by the semantic tokens. At the end the segments are added where they
overlap. The cost grows with the square of the number of segments only.

What the paper leaves open, and how it is here: the columns of a segment that the coarse path sees are 1 in
the two blocks in the middle and twice as many in each block further out, as far as there are. The widths
inside the paths are chosen so that the paper's size has the paper's number of weights. Conditions that the
paper does not have are added to the frames.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from musiclm.diffusion.conditions import ConditionEmbedding
from musiclm.diffusion.denoiser import Denoiser, TimeEmbedding, denoiser_segments
from musiclm.diffusion.process import choose_process
from musiclm.diffusion.rotary import rotated, rotation
from musiclm.stages.streams import MUSICLM, Stream

Recurrence = Literal["sru", "gru"]


class DualPath(Denoiser):
    """MeLoDy's network; the sizes by default are the paper's, 296.6M weights.

    Args:
        process: that it is trained and sampled with, `angle` or `flow`.
        dimension: D, of a latent.
        frame_rate: latents per second.
        width: H, of the frames.
        blocks: N.
        heads: of the attention of the coarse path.
        feed_forward: width of its gated feed-forward.
        segment: K, frames of a segment, an even number.
        recurrence: of the fine path: `sru`, or torch's `gru`.
        embedding_width: of the tables of codes.
        streams: there are, `semantic` among them.
        conditions: names of the others that it follows; None for all that say something about the music.
        unfolded_width: of the embeddings of conditions with long frames, as a melody's.
    """

    fold = 1

    def __init__(
        self,
        *,
        process: str = "angle",
        dimension: int = 16,
        frame_rate: float = 250.0,
        width: int = 768,
        blocks: int = 8,
        heads: int = 12,
        feed_forward: int = 6720,
        segment: int = 64,
        recurrence: Recurrence = "sru",
        embedding_width: int = 256,
        streams: Sequence[Stream] = MUSICLM,
        conditions: Sequence[str] | None = None,
        unfolded_width: int = 128,
    ) -> None:
        super().__init__()
        if width % heads or width // heads % 2 or width % 2 or segment < 2 or segment % 2:
            raise ValueError(
                "expected a width that heads of an even width share and an even segment, got "
                f"{width} of {heads} heads and {segment}"
            )
        self.process = choose_process(process)
        self.dimension = dimension
        self.frame_rate = frame_rate
        self.segment = segment
        self.head_width = width // heads
        self.segments = denoiser_segments(streams, conditions, unfolded_width=unfolded_width)
        self.semantic = next(each for each in self.segments if each.name == "semantic")
        others = [each for each in self.segments if each is not self.semantic]
        self.told = ConditionEmbedding(others, rate=frame_rate, narrow=embedding_width, width=width)
        self.tokens = nn.Embedding(self.semantic.codebook_size, width)
        self.tokens_in = nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width))
        self.time = TimeEmbedding(width)
        self.noisy_in = nn.Linear(dimension, width)
        self.blocks = nn.ModuleList(
            DualPathBlock(width, heads, feed_forward, segment, _columns(number, blocks, segment), recurrence)
            for number in range(blocks)
        )
        self.norm = nn.RMSNorm(width, eps=1e-6)
        self.velocity_out = nn.Linear(width, dimension, bias=False)
        nn.init.zeros_(self.velocity_out.weight)

    def forward(self, state: Tensor, time: Tensor, codes: Mapping[str, Tensor]) -> Tensor:
        """See `Denoiser`."""
        batch, _, frames = state.shape
        whole, told = self.told(codes, batch, frames)
        at = self.time(time)  # [B, T, H]
        x = self._cut(self.noisy_in(state.transpose(1, 2)) + at + told + whole)  # [B, S, K, H]
        tokens, is_there = self._tokens(codes, batch, frames)
        seconds = torch.arange(tokens.shape[1], device=x.device) / self.semantic.frame_rate
        modulated = self._cut(at).mean(dim=2) + self._of_segments(tokens, is_there, x.shape[1])  # [B, S, H]
        for block in self.blocks:
            x = block(x, modulated, tokens, is_there, seconds, frame_rate=self.frame_rate)
        return self.velocity_out(self.norm(self._joined(x, frames))).transpose(1, 2)

    def _cut(self, frames: Tensor) -> Tensor:
        """Frames [B, T, H] as S half-overlapping segments [B, S, K, H], zeros around them."""
        hop = self.segment // 2
        count = -(-frames.shape[1] // hop) + 1
        padded = nn.functional.pad(frames, (0, 0, hop, count * hop - frames.shape[1]))
        return padded.unfold(1, self.segment, hop).transpose(2, 3)

    def _joined(self, segments: Tensor, frames: int) -> Tensor:
        """Segments [B, S, K, H], added where they overlap, as frames [B, T, H]."""
        hop = self.segment // 2
        batch, count, _, width = segments.shape
        earlier, later = segments[:, :, :hop], segments[:, :, hop:]
        total = later[:, :-1] + earlier[:, 1:]  # [B, S - 1, hop, H], from the first frame on
        return total.reshape(batch, (count - 1) * hop, width)[:, :frames]

    def _tokens(self, codes: Mapping[str, Tensor], batch: int, frames: int) -> tuple[Tensor, Tensor]:
        """The semantic tokens of the window as vectors [B, N, H], and which rows have any, bool [B]."""
        count = max(round(frames / self.frame_rate * self.semantic.frame_rate), 1)
        weight = self.tokens.weight
        given = codes.get("semantic", torch.full((batch, 1, count), -1, device=weight.device))[:, 0, :count]
        there = (given >= 0)[..., None]
        vectors = self.tokens_in(self.tokens(given.clamp_min(0))) * there
        return vectors, there.any(dim=2).any(dim=1)

    def _of_segments(self, tokens: Tensor, is_there: Tensor, count: int) -> Tensor:
        """The mean of the tokens of each segment's time, [B, S, H]; zeros where there are none."""
        number = tokens.shape[1]
        middles = torch.arange(count, device=tokens.device) * (self.segment // 2) / self.frame_rate
        seconds = (torch.arange(number, device=tokens.device) + 0.5) / self.semantic.frame_rate
        half = max(self.segment / 2 / self.frame_rate, 0.5 / self.semantic.frame_rate)
        near = ((seconds[None] - middles[:, None]).abs() <= half).to(tokens)  # [S, N]
        near = near / near.sum(dim=1, keepdim=True).clamp_min(1)
        return torch.einsum("sn,bnh->bsh", near, tokens) * is_there[:, None, None]


def _columns(number: int, blocks: int, segment: int) -> int:
    """How many columns of a segment the coarse path of a block sees."""
    from_the_middle = max(number - blocks // 2, (blocks - 1) // 2 - number, 0)
    columns = min(1 << from_the_middle, segment)
    while segment % columns:
        columns //= 2
    return columns


class DualPathBlock(nn.Module):
    """A coarse path over all segments and a fine path in each, both added to what comes in.

    Args:
        width: H.
        heads, feed_forward: of the coarse path.
        segment: K.
        columns: of a segment that the coarse path sees; K is a multiple of it.
        recurrence: of the fine path.
    """

    def __init__(
        self, width: int, heads: int, feed_forward: int, segment: int, columns: int, recurrence: Recurrence
    ) -> None:
        super().__init__()
        self.columns = columns
        self.segment = segment
        self.coarse = CoarsePath(width, heads, feed_forward)
        self.coarse_norm = nn.RMSNorm(width, eps=1e-6)
        self.modulation = nn.Linear(width, 2 * width)
        self.fine: nn.Module = (
            nn.Sequential(SRU(width), SRU(2 * width, width))
            if recurrence == "sru"
            else nn.GRU(width, width, num_layers=2, batch_first=True, bidirectional=True)
        )
        self.fine_out = nn.Linear(2 * width, width, bias=False)
        self.fine_norm = nn.RMSNorm(width, eps=1e-6)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    def forward(
        self,
        x: Tensor,
        modulated: Tensor,
        tokens: Tensor,
        is_there: Tensor,
        seconds: Tensor,
        *,
        frame_rate: float,
    ) -> Tensor:
        """Segments [B, S, K, H].

        Args:
            x: segments that come in.
            modulated: what is told each segment, [B, S, H].
            tokens: semantic ones, [B, N, H].
            is_there: which rows have any, [B].
            seconds: of each token, [N].
            frame_rate: of the frames.
        """
        batch, count, size, width = x.shape
        each = size // self.columns  # frames to a column
        merged = x.unflatten(2, (self.columns, each)).mean(dim=3).flatten(1, 2)  # [B, S * columns, H]
        first = torch.arange(count, device=x.device)[:, None] * (size // 2) - size // 2
        inside = (torch.arange(self.columns, device=x.device) + 0.5) * each
        places = ((first + inside) / frame_rate).flatten()  # seconds of each column's middle
        seen = self.coarse(merged, places, tokens, is_there, seconds)
        repeated = seen.unflatten(1, (count, self.columns)).repeat_interleave(each, dim=2)
        x = self.coarse_norm(x + repeated)
        scale, shift = self.modulation(modulated).chunk(2, dim=-1)
        inner = (x * (1 + scale[:, :, None]) + shift[:, :, None]).flatten(0, 1)  # [B * S, K, H]
        through = self.fine(inner)
        through = through[0] if isinstance(through, tuple) else through
        return self.fine_norm(x + self.fine_out(through).view(batch, count, size, width))


class CoarsePath(nn.Module):
    """Self-attention, cross-attention to the semantic tokens, and a gated feed-forward.

    Rotary positions are times, so that a column and the token of its moment have the same one.
    """

    def __init__(self, width: int, heads: int, feed_forward: int) -> None:
        super().__init__()
        self.heads = heads
        self.head_width = width // heads
        self.norms = nn.ModuleList(nn.RMSNorm(width, eps=1e-6) for _ in range(3))
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.self_out = nn.Linear(width, width, bias=False)
        self.queries = nn.Linear(width, width, bias=False)
        self.keys_values = nn.Linear(width, 2 * width, bias=False)
        self.cross_out = nn.Linear(width, width, bias=False)
        self.feed_forward_in = nn.Linear(width, 2 * feed_forward, bias=False)  # gate, value
        self.feed_forward_out = nn.Linear(feed_forward, width, bias=False)

    def forward(self, x: Tensor, places: Tensor, tokens: Tensor, is_there: Tensor, seconds: Tensor) -> Tensor:
        """Columns [B, C, H] at `places` [C], with tokens [B, N, H] at `seconds` [N]."""
        own = rotation(places * TURNS, self.head_width)
        queries, keys, values = self.qkv(self.norms[0](x)).chunk(3, dim=-1)
        x = x + self.self_out(self._attend(queries, keys, values, own, own))
        seen = self.norms[1](x)
        queries = self.queries(seen)
        keys, values = self.keys_values(tokens).chunk(2, dim=-1)
        crossed = self._attend(queries, keys, values, own, rotation(seconds * TURNS, self.head_width))
        if not bool(is_there.all()):  # "the cross-attention becomes self-attention" (sec. 3.4)
            keys, values = self.keys_values(seen).chunk(2, dim=-1)
            alone = self._attend(queries, keys, values, own, own)
            crossed = torch.where(is_there[:, None, None], crossed, alone)
        x = x + self.cross_out(crossed)
        opened, value = self.feed_forward_in(self.norms[2](x)).chunk(2, dim=-1)
        return x + self.feed_forward_out(nn.functional.silu(opened) * value)

    def _attend(
        self,
        queries: Tensor,
        keys: Tensor,
        values: Tensor,
        turns: tuple[Tensor, Tensor],
        turns_of_keys: tuple[Tensor, Tensor],
    ) -> Tensor:
        split = [each.unflatten(2, (self.heads, -1)).transpose(1, 2) for each in (queries, keys, values)]
        attended = nn.functional.scaled_dot_product_attention(
            rotated(split[0], turns), rotated(split[1], turns_of_keys), split[2]
        )
        return attended.transpose(1, 2).flatten(2)


TURNS = 25.0  # rotary positions to a second: those of semantic tokens


class SRU(nn.Module):
    """A layer of bidirectional simple recurrent units (Lei et al., 1709.02755), in plain torch.

    The matrices are applied to all steps at once; only what is elementwise goes from step to step.

    Args:
        inputs: width of what comes in.
        width: of each direction; that of the inputs, unless given.
    """

    def __init__(self, inputs: int, width: int | None = None) -> None:
        super().__init__()
        self.width = width or inputs
        # By direction: the candidate, the forget and the reset gate, and the way around them.
        self.matrix = nn.Linear(inputs, 2 * 4 * self.width, bias=False)
        self.from_state = nn.Parameter(torch.zeros(2, 2, self.width))  # of the gates, by direction
        self.bias = nn.Parameter(torch.zeros(2, 2, self.width))

    def forward(self, x: Tensor) -> Tensor:
        """Steps [B, K, inputs] to [B, K, 2 * width], forwards and backwards beside each other."""
        batch, steps, _ = x.shape
        mixed = self.matrix(x).view(batch, steps, 2, 4, self.width)
        mixed = torch.stack([mixed[:, :, 0], mixed[:, :, 1].flip(1)], dim=2)  # each in its own order
        candidate, forget, reset, around = mixed.unbind(dim=3)  # [B, K, 2, W] each
        forget, reset = forget + self.bias[:, 0], reset + self.bias[:, 1]
        state, made = candidate.new_zeros(batch, 2, self.width), []
        for step in range(steps):
            kept = torch.sigmoid(forget[:, step] + self.from_state[:, 0] * state)
            opened = torch.sigmoid(reset[:, step] + self.from_state[:, 1] * state)
            state = kept * state + (1 - kept) * candidate[:, step]
            made.append(opened * state + (1 - opened) * around[:, step])
        through = torch.stack(made, dim=1)  # [B, K, 2, W]
        return torch.cat([through[:, :, 0], through[:, :, 1].flip(1)], dim=2)
