"""A stage: a layout, a transformer, and the embeddings and heads between them.

`forward` takes codes by segment name and returns the logits of every target code; `decoding.sample_codes`
draws new ones. The three stages of MusicLM (sec. 3.2) are this class with three layouts: `semantic.py`,
`coarse.py`, `fine.py` say only which segments there are.
"""

from collections.abc import Mapping
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musiclm.stages.adapters import MATRICES, Adaptable, Matrix
from musiclm.stages.conditions import AlignedCondition, CombinedCondition, UnfoldedCondition
from musiclm.stages.layout import Layout, Segment
from musiclm.stages.transformer import Transformer, TransformerConfig

EMBEDDING_STD = 1.0  # T5's: as loud as what the blocks write beside it, or the token read would be drowned
HEAD_STD = 0.02


class Stage(Adaptable):
    """Codes of the conditions and the target in, logits of the target out.

    Args:
        layout: segments and pattern.
        config: sizes of the transformer.
    """

    training_state: tuple[str, ...] = ()

    def __init__(self, layout: Layout, config: TransformerConfig) -> None:
        super().__init__()
        width, narrow = config.width, config.embedding_width or config.width
        target = layout.target
        self.layout = layout
        self.config = config
        self.embedding = nn.Embedding(layout.vocabulary_size, narrow)
        self.embedding_in = _linear_or_identity(narrow, width)
        self.summary = nn.Linear(narrow, width, bias=False) if layout.broadcast else None
        self.aligned = nn.ModuleDict(
            {
                segment.name: AlignedCondition(
                    narrow, width, ratio=layout.ratio(segment), lookahead=layout.lookahead
                )
                for segment in layout.aligned
                if not segment.unfolding
            }
        )
        self.combined = nn.ModuleDict(
            {
                segment.name: CombinedCondition(
                    segment.levels, segment.codebook_size, narrow, width, ratio=layout.ratio(segment)
                )
                for segment in layout.aligned
                if segment.combined
            }
        )
        self.unfolded = nn.ModuleDict(
            {
                segment.name: UnfoldedCondition(
                    segment.vocabulary_size, width, ratio=layout.ratio(segment), unfolding=segment.unfolding
                )
                for segment in layout.aligned
                if segment.unfolding
            }
        )
        self.transformer = Transformer(config)
        self.tied = config.tie_embeddings
        self.head_in = nn.Linear(width, narrow, bias=False) if self.tied else nn.Identity()
        self.head = None if self.tied else nn.Linear(width, target.levels * target.codebook_size, bias=False)
        self.level_heads: nn.Module | None = None  # the same matrices as decoding reads them (`precision.py`)
        self.initialise()

    def forward(self, codes: Mapping[str, Tensor]) -> Tensor:
        """Logits [B, Q, T, codebook_size] of the target.

        Args:
            codes: [B, levels, T] per segment, the target among them. An optional condition may be missing,
                `ABSENT` (-1) where it is not there, or end early; others cover the target's frames.
        """
        target = codes[self.layout.target.name]  # [B, Q, T]
        tokens = self.layout.shift(self.layout.flatten(target))  # [B, N, K]
        prefix, added = self.embed_conditions(codes, tokens.shape[0], target.shape[2])
        steps = self.embed_tokens(tokens) + added  # [B, N, D]
        hidden = self.transformer(torch.cat([prefix, steps], dim=1))[:, prefix.shape[1] :]  # [B, N, D]
        due = self.layout.step_of(target.shape[2], target.device)  # [Q, T]
        hidden = hidden[:, due]  # [B, Q, T, D]
        return torch.einsum("bqtd,qcd->bqtc", self.head_in(hidden), self.head_weight())

    def logits(self, hidden: Tensor, levels: slice) -> Tensor:
        """Logits [rows, due, codebook_size] of the levels due at a step, of hidden states [rows, D]."""
        hidden = self.head_in(hidden)
        if self.level_heads is not None:
            return self.level_heads(hidden, levels)
        weight = self.head_weight()[levels]  # [due, codebook_size, E]
        return F.linear(hidden, weight.flatten(0, 1)).view(len(hidden), *weight.shape[:2])

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """The summed embeddings [..., D] of tokens [..., K]."""
        return self.embedding_in(self.embedding(tokens).sum(dim=-2))

    def embed_conditions(self, codes: Mapping[str, Tensor], batch: int, frames: int) -> tuple[Tensor, Tensor]:
        """The prefix [B, P, D] and what the conditions add to each step of T target frames, [B, N, D]."""
        codes = self.layout.complete(codes, batch, frames, self.embedding.weight.device)
        prefix = self.embedding(self.layout.prefix_tokens(codes, batch, self.embedding.weight.device))
        added = self.embedding.weight.new_zeros(batch, self.layout.steps(frames), self.config.width)
        if self.summary is not None:
            added = added + self.summary(prefix.sum(dim=1, keepdim=True))
        for segment in self.layout.aligned:
            tokens = self.layout.aligned_tokens(segment, codes)  # [B, T, levels]
            if segment in self.layout.unfolded:
                added = added + self.unfolded[segment.name](tokens, frames, added.shape[1])
            else:
                narrow = self.embedding(tokens).sum(dim=2)  # [B, T, E]
                added = added + self.aligned[segment.name](narrow, frames, added.shape[1])
            if segment.combined:
                added = added + self.combined[segment.name](codes[segment.name], frames, added.shape[1])
        return self.embedding_in(prefix), added

    def matrices_to_adapt(self) -> list[dict[Matrix, str]]:
        """See `Adaptable`."""
        blocks = range(len(self.transformer.blocks))
        return [{name: f"transformer.blocks.{number}.{name}" for name in MATRICES} for number in blocks]

    def table(self, segment: Segment) -> nn.Embedding:
        """The embeddings that a segment's ids are looked up in: the shared ones, or its own."""
        if segment in self.layout.unfolded:
            return cast(UnfoldedCondition, self.unfolded[segment.name]).embedding
        return self.embedding

    def head_weight(self) -> Tensor:
        """The output matrices [Q, codebook_size, E or D], one per level of the target."""
        target = self.layout.target
        start = self.layout.offsets[target.name]
        rows = self.head.weight if self.head is not None else self.embedding.weight[start : self.layout.blank]
        return rows.view(target.levels, target.codebook_size, -1)

    @torch.no_grad()
    def start_from(self, codebooks: Mapping[str, Tensor]) -> None:
        """Let each code's embedding begin as what the code stands for: what sounds alike begins alike.

        Args:
            codebooks: entries [levels, codebook_size, D'] by source; a source that is missing keeps its
                random values.
        """
        for segment in self.layout.segments:
            entries = codebooks.get(segment.key)
            if entries is None:
                continue
            table = self.table(segment)
            own = embeddings_of(entries[segment.first_level :][: segment.levels], table.embedding_dim)
            start = self.layout.offsets[segment.name]
            table.weight[start : start + segment.levels * segment.codebook_size] = own.flatten(0, 1)

    def initialise(self) -> None:
        """All initial values of the stage; `Transformer.initialise` has the transformer's."""
        self.transformer.initialise()
        nn.init.normal_(self.embedding.weight, std=EMBEDDING_STD)
        if isinstance(self.embedding_in, nn.Linear):
            nn.init.normal_(self.embedding_in.weight, std=self.embedding_in.in_features**-0.5)
        if isinstance(self.head_in, nn.Linear):  # embeddings are sqrt(E) long: logits of about 1
            inputs, outputs = self.head_in.in_features, self.head_in.out_features
            nn.init.normal_(self.head_in.weight, std=(inputs * outputs) ** -0.5)
        if self.summary is not None:  # silent at first: a sum of many tokens is louder than the one to read
            nn.init.zeros_(self.summary.weight)
        for segment in self.layout.aligned:
            if segment.name in self.aligned:  # one that may be absent begins as if it were
                cast(AlignedCondition, self.aligned[segment.name]).initialise(silent=segment.optional)
        for combined in self.combined.values():
            cast(CombinedCondition, combined).initialise()
        for unfolded in self.unfolded.values():
            nn.init.normal_(cast(UnfoldedCondition, unfolded).embedding.weight, std=EMBEDDING_STD)
            cast(UnfoldedCondition, unfolded).initialise()
        if self.head is not None:
            nn.init.normal_(self.head.weight, std=HEAD_STD)


def embeddings_of(entries: Tensor, width: int) -> Tensor:
    """Entries [levels, codebook_size, D] in their main directions [..., width], loud as embeddings begin."""
    own = entries.float()
    own = own @ main_directions(own, width)
    own = own - own.mean(dim=1, keepdim=True)
    # One scale for all levels: so the sum of a frame's embeddings is what the codes decode to.
    return EMBEDDING_STD * own / own[0].std().clamp_min(1e-8)


def main_directions(entries: Tensor, width: int) -> Tensor:
    """Orthonormal map [D, width] of entries [..., D]: principal components, turned if width is above D."""
    points = entries.flatten(0, -2)
    # All D are asked for only where there are fewer points: else so would be as many directions as points.
    few = len(points) < points.shape[1]
    _, _, components = torch.linalg.svd(points - points.mean(dim=0), full_matrices=few)  # [D, D]
    if width <= points.shape[1]:
        return components[:width].t()
    generator = torch.Generator().manual_seed(0)
    turn, _ = torch.linalg.qr(torch.randn(width, width, generator=generator))
    return components.t() @ turn[: points.shape[1]].to(entries.device)


def _linear_or_identity(inputs: int, outputs: int) -> nn.Module:
    return nn.Identity() if inputs == outputs else nn.Linear(inputs, outputs, bias=False)
