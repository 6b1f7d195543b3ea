"""What a denoiser is told, as vectors at its positions: codes of conditions, each of which may be absent.

Unlike a stage, a denoiser sees all positions at once, so that a condition with a clock is laid on those of
its own time and needs no look ahead. What is absent adds exactly nothing.
"""

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from musiclm.stages.conditions import AlignedCondition, CombinedCondition, UnfoldedCondition
from musiclm.stages.layout import Segment
from musiclm.stages.stage import embeddings_of


class ConditionEmbedding(nn.Module):
    """The sum of the conditions, for the whole clip and for each position.

    Args:
        segments: the conditions.
        rate: positions per second.
        narrow: width of the tables of codes.
        width: W, of the sums.

    Raises:
        ValueError: a condition's frames do not hold a whole number of positions.
    """

    def __init__(self, segments: Sequence[Segment], *, rate: float, narrow: int, width: int) -> None:
        super().__init__()
        self.segments = tuple(segments)
        self.rate = rate
        self.width = width
        self.tables = nn.ModuleDict()
        self.whole = nn.ModuleDict()
        self.aligned = nn.ModuleDict()
        self.unfolded = nn.ModuleDict()
        self.combined = nn.ModuleDict()
        for segment in segments:
            if segment.unfolding:
                self.unfolded[segment.name] = UnfoldedCondition(
                    segment.levels * segment.codebook_size + 1,
                    width,
                    ratio=self.ratio(segment),
                    unfolding=segment.unfolding,
                )
                continue
            if segment.combined:
                self.combined[segment.name] = CombinedCondition(
                    segment.levels, segment.codebook_size, narrow, width, ratio=self.ratio(segment)
                )
            self.tables[segment.name] = nn.Embedding(segment.levels * segment.codebook_size, narrow)
            if segment.frame_rate:
                self.aligned[segment.name] = AlignedCondition(
                    narrow, width, ratio=self.ratio(segment), lookahead=0
                )
            else:
                self.whole[segment.name] = nn.Linear(narrow, width, bias=False)
        self.initialise()

    def forward(self, codes: Mapping[str, Tensor], batch: int, positions: int) -> tuple[Tensor, Tensor]:
        """What holds for the whole clip [B, 1, W], and what each of P positions is told, [B, P, W].

        Args:
            codes: [B, levels, T] by condition, negative where there is none; those that are missing, or end
                early, are absent.
            batch: B.
            positions: P.
        """
        like = next(self.parameters())
        whole, told = like.new_zeros(batch, 1, self.width), like.new_zeros(batch, positions, self.width)
        for segment in self.segments:
            given = codes.get(segment.name)
            if given is None:
                continue
            if segment.unfolding:
                shifted = given + self._first(segment, given)
                absent = segment.levels * segment.codebook_size
                tokens = torch.where(given < 0, absent, shifted).transpose(1, 2)  # [B, T, levels]
                told = told + self._laid(self.unfolded[segment.name], tokens, positions)
                continue
            there = given >= 0
            ids = torch.where(there, given + self._first(segment, given), 0)
            vectors = (self.tables[segment.name](ids) * there[..., None]).sum(dim=1)  # [B, T, E]
            if segment.frame_rate:
                told = told + self._laid(self.aligned[segment.name], vectors, positions)
                if segment.combined:
                    told = told + self._laid(self.combined[segment.name], given, positions)
            else:
                whole = whole + self.whole[segment.name](vectors[:, :1])
        return whole, told

    def ratio(self, segment: Segment) -> int:
        """Positions to a frame of a condition."""
        ratio = round(self.rate / segment.frame_rate)
        if ratio < 1 or abs(self.rate / segment.frame_rate - ratio) > 1e-6:
            raise ValueError(
                f"expected frames of {segment.name} at {segment.frame_rate:g} Hz to hold whole positions, of "
                f"which there are {self.rate:g} a second"
            )
        return ratio

    @torch.no_grad()
    def start_from(self, codebooks: Mapping[str, Tensor]) -> None:
        """Let each code begin as what it stands for, in its main directions.

        Args:
            codebooks: entries [levels, codebook_size, D] by condition; one that is missing stays random.
        """
        for segment in self.segments:
            entries = codebooks.get(segment.key)
            if entries is None:
                continue
            unfolded = self.unfolded[segment.name] if segment.unfolding else None
            table = cast(nn.Embedding, unfolded.embedding if unfolded else self.tables[segment.name])
            own = embeddings_of(entries[: segment.levels], table.embedding_dim)
            table.weight[: segment.levels * segment.codebook_size] = own.flatten(0, 1)

    def initialise(self) -> None:
        """Tables of about 1; what may be absent begins as if it were."""
        for table in self.tables.values():
            nn.init.normal_(cast(nn.Embedding, table).weight)
        for matrix in self.whole.values():
            nn.init.zeros_(cast(nn.Linear, matrix).weight)
        for name, laid in self.aligned.items():
            cast(AlignedCondition, laid).initialise(silent=name != "semantic")
        for combined in self.combined.values():
            cast(CombinedCondition, combined).initialise()
        for unfolded in self.unfolded.values():
            nn.init.normal_(cast(UnfoldedCondition, unfolded).embedding.weight)
            cast(UnfoldedCondition, unfolded).initialise()

    @staticmethod
    def _first(segment: Segment, codes: Tensor) -> Tensor:
        """The first id of each level, [levels, 1]."""
        return torch.arange(segment.levels, device=codes.device)[:, None] * segment.codebook_size

    @staticmethod
    def _laid(laid: nn.Module, frames: Tensor, positions: int) -> Tensor:
        told: Tensor = laid(frames, positions, positions)
        return torch.nn.functional.pad(told, (0, 0, 0, positions - told.shape[1]))
