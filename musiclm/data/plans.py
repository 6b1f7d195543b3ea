"""Plans with the words that describe their music, of a token store: what the planner trains on.

A row of the store has captions, MuLan's embeddings, and the streams of its score; the plan is what these
streams say, in bars. Rows whose beat is not known have none, and are left out.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from musiclm.data.loading import ResumableLoader, ResumableSampler, check_any_to_train_on, no_validation
from musiclm.data.store import TokenRow, TokenStore
from musiclm.data.token_crops import tokens_of
from musiclm.files import shown
from musiclm.score.bars import plan_of_score
from musiclm.score.codes import STREAMS, score_of
from musiclm.score.plan_tokens import tokens_of as tokens_of_plan


@dataclass(frozen=True)
class DescribedPlan:
    """A plan's tokens, and what is known of its music: captions, and its embedding [D]."""

    tokens: list[int]
    captions: tuple[str, ...]
    embedding: Tensor


class PlanData(Dataset[dict[str, Any]]):
    """Item `i` is the i-th random plan, with one of its captions."""

    def __init__(self, plans: Sequence[DescribedPlan], *, seed: int) -> None:
        self.plans = plans
        self.seed = seed

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        plan = self.plans[int(torch.randint(len(self.plans), (), generator=generator))]
        place = int(torch.randint(max(len(plan.captions), 1), (), generator=generator))
        caption = plan.captions[place] if plan.captions else ""
        return {"tokens": plan.tokens, "caption": caption, "embedding": plan.embedding}


class Plans(lightning.LightningDataModule):
    """Batches of plans.

    Args:
        tokens: the folder of a token store.
        batch_size: plans in a batch.
        plans_per_epoch: an epoch is this many plans.
        validation_plans: fixed ones of held-out recordings.
        seed: of the draw.
    """

    def __init__(
        self,
        tokens: Path,
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
        self.tokens = Path(tokens)
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
            for row in TokenStore(self.tokens):
                if (plan := described(row)) is not None:
                    self._plans[row.split].append(plan)
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
        data = PlanData(self.split("train"), seed=self.seed)
        return ResumableLoader(
            data, batch_size=self.batch_size, sampler=sampler, drop_last=True, collate_fn=_together
        )

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        if reason := self.unmeasured():
            return no_validation(reason, self.trainer)
        data = PlanData(self.split("valid"), seed=-1)
        return DataLoader(
            data, batch_size=self.batch_size, sampler=range(self.validation_plans), collate_fn=_together
        )


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


def _together(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Tokens [B, N], -1 after their ends, captions, and embeddings [B, D]."""
    longest = max(len(row["tokens"]) for row in rows)
    tokens = [row["tokens"] + [-1] * (longest - len(row["tokens"])) for row in rows]
    return {
        "tokens": torch.tensor(tokens),
        "caption": [row["caption"] for row in rows],
        "embedding": torch.stack([row["embedding"] for row in rows]),
    }
