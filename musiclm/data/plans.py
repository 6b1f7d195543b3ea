"""Plans with the words that describe their music: what the planner trains on.

They come from a token store, whose rows have captions, MuLan's embeddings, and the streams of a score; and
from a table of labels and captions alone, of music that need not have been played (`musiclm corpus labels`).
The plan is what the score says, in bars. Rows whose beat is not known have none, and are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from musiclm.data.crops import run_report
from musiclm.data.cutting import tokens_of
from musiclm.data.loading import ResumableLoader, ResumableSampler, check_any_to_train_on, no_validation
from musiclm.data.remote import brought_here
from musiclm.data.sources import Row, split_of
from musiclm.data.sources.corpus_table import read_table
from musiclm.data.store import StoreDescription, TokenRow, TokenStore
from musiclm.files import shown
from musiclm.score.bars import plan_of_score
from musiclm.score.codes import STREAMS, score_of
from musiclm.score.labels import score_of_labels
from musiclm.score.plan_tokens import tokens_of as tokens_of_plan


@dataclass(frozen=True)
class DescribedPlan:
    """A plan's tokens, and what is known of its music: captions, and its embedding [D], if it was heard."""

    tokens: list[int]
    captions: tuple[str, ...]
    embedding: Tensor | None = None


class PlanData(Dataset[dict[str, Any]]):
    """Item `i` is the i-th random plan, with one of its captions."""

    def __init__(self, plans: Sequence[DescribedPlan], *, dimension: int, seed: int) -> None:
        self.plans = plans
        self.unheard = torch.zeros(dimension)
        self.seed = seed

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        plan = self.plans[int(torch.randint(len(self.plans), (), generator=generator))]
        place = int(torch.randint(max(len(plan.captions), 1), (), generator=generator))
        caption = plan.captions[place] if plan.captions else ""
        embedding = self.unheard if plan.embedding is None else plan.embedding
        return {"tokens": plan.tokens, "caption": caption, "embedding": embedding}


class Plans(lightning.LightningDataModule):
    """Batches of plans.

    Args:
        tokens: the folder of a token store.
        labels: a folder with a table of labels and captions; one of its plans counts as one of the store's.
        batch_size: plans in a batch.
        plans_per_epoch: an epoch is this many plans.
        validation_plans: fixed ones of held-out recordings.
        seed: of the draw.
    """

    def __init__(
        self,
        tokens: Path,
        labels: Path | None = None,
        *,
        batch_size: int = 64,
        plans_per_epoch: int = 6400,
        validation_plans: int = 256,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 1 <= batch_size <= plans_per_epoch:
            raise ValueError(
                f"expected a batch_size of 1 … plans_per_epoch, got {batch_size} and {plans_per_epoch}"
            )
        self.tokens = brought_here(Path(tokens))
        self.labels = None if labels is None else Path(labels)
        self.batch_size = batch_size
        self.plans_per_epoch = plans_per_epoch
        self.validation_plans = validation_plans
        self.seed = seed
        self._plans: dict[str, list[DescribedPlan]] = {}

    def split(self, name: str) -> list[DescribedPlan]:
        """The plans of a split.

        Raises:
            ValueError: there are none to train on.
        """
        if not self._plans:
            self._plans = {"train": [], "valid": []}
            for row in self._store:
                if (plan := described(row)) is not None:
                    self._plans[row.split].append(plan)
            if self.labels is not None:
                rows, report = read_table(self.labels), run_report(self.trainer, strict=False)
                for labelled, plan in report.each(rows, described_by_labels):
                    if plan is not None:
                        self._plans[labelled.split or split_of(labelled.id)].append(plan)
                report.close(len(rows) - len(report.left_out))
        if name == "train":
            check_any_to_train_on(
                len(self._plans["train"]), shown(self.tokens), "recording whose beat is known"
            )
        return self._plans[name]

    def unmeasured(self) -> str | None:
        """Why nothing can be measured; None where a recording with a plan is held out."""
        return (
            None if self.split("valid") else f"no recording of {shown(self.tokens)} with a plan is held out"
        )

    def train_dataloader(self) -> DataLoader:
        sampler = ResumableSampler(self.plans_per_epoch, self)
        data = self._data("train", seed=self.seed)
        return ResumableLoader(
            data, batch_size=self.batch_size, sampler=sampler, drop_last=True, collate_fn=_together
        )

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        if reason := self.unmeasured():
            return no_validation(reason, self.trainer)
        data = self._data("valid", seed=-1)
        return DataLoader(
            data, batch_size=self.batch_size, sampler=range(self.validation_plans), collate_fn=_together
        )

    @property
    def description(self) -> StoreDescription:
        """Of the token store."""
        return self._store.description

    @cached_property
    def _store(self) -> TokenStore:
        return TokenStore(self.tokens)

    def _data(self, split: str, *, seed: int) -> PlanData:
        return PlanData(self.split(split), dimension=self.description["mulan"].size, seed=seed)


def described(row: TokenRow) -> DescribedPlan | None:
    """The plan of a row of a store; None where its beat is not known."""
    names = [stream.name for stream in STREAMS]
    codes = {name: torch.from_numpy(tokens_of(row.streams[name])) for name in names if name in row.streams}
    plan = plan_of_score(score_of(codes))
    if plan is None:
        return None
    mean = row.streams["mulan"].astype(np.float32).mean(axis=0)
    embedding = torch.nn.functional.normalize(torch.from_numpy(mean), dim=0)
    return DescribedPlan(tokens_of_plan(plan), tuple(row.captions), embedding)


def described_by_labels(row: Row) -> DescribedPlan | None:
    """The plan of a row of a table; None where its beat is not known.

    Raises:
        ValueError: its labels say what cannot be.
    """
    plan = plan_of_score(score_of_labels(row.labels, row.seconds)) if row.seconds else None
    return None if plan is None else DescribedPlan(tokens_of_plan(plan), row.captions or ())


def _together(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Tokens [B, N], -1 after their ends, captions, and embeddings [B, D]."""
    longest = max(len(row["tokens"]) for row in rows)
    tokens = [row["tokens"] + [-1] * (longest - len(row["tokens"])) for row in rows]
    return {
        "tokens": torch.tensor(tokens),
        "caption": [row["caption"] for row in rows],
        "embedding": torch.stack([row["embedding"] for row in rows]),
    }
