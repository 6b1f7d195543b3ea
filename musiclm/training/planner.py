"""Training of the planner: the next token of a plan, from the words and the embedding of its music.

Plans come from `Plans`. Either of what the text is known by is left out for some rows, so that the planner
serves for words that it has never met, and for recordings without any; the embedding, in training the
music's, is moved as far as text lies from music.
"""

from functools import partial
from typing import Any

import lightning
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from torch.nn import functional

from musiclm.data.plans import Plans
from musiclm.score.plan_tokens import HEADER
from musiclm.score.planner import LONGEST, Planner, words_of
from musiclm.training.schedules import scheduled, share_of_peak
from musiclm.training.seeds import seed_step


class PlannerTraining(lightning.LightningModule):
    """Cross-entropy of the tokens, each kind counting alike; measured by kind, and by the words left out.

    Args:
        part: the planner to train.
        optimizer: made from the parameters.
        warmup_steps: of the learning rate, which then falls to 0 by half a cosine over the run.
        words_dropout: fraction of the rows without words.
        embedding_dropout: fraction of the rows without an embedding.
        noise: length of the random vector that is added to an embedding, itself of length 1.
        seed: of what is left out; a step's draw depends on the seed and the step alone.
    """

    role = "planner"  # in a bundle

    def __init__(
        self,
        part: Planner,
        *,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        warmup_steps: int = 100,
        words_dropout: float = 0.3,
        embedding_dropout: float = 0.3,
        noise: float = 0.8,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not (0 <= words_dropout <= 1 and 0 <= embedding_dropout <= 1 and noise >= 0):
            raise ValueError(
                "expected words_dropout and embedding_dropout in [0, 1] and noise of 0 or more, got "
                f"{words_dropout}, {embedding_dropout}, {noise}"
            )
        self.part = part
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.words_dropout = words_dropout
        self.embedding_dropout = embedding_dropout
        self.noise = noise
        self.seed = seed

    def setup(self, stage: str) -> None:
        """Check that the planner knows embeddings of the store's size."""
        source = self.trainer.datamodule  # type: ignore[attr-defined]  # None beside plain loaders
        size = source.description["mulan"].size if isinstance(source, Plans) else self.part.dimension
        if size != self.part.dimension:
            raise ValueError(
                f"expected a planner of {size} dimensions, as the joint embedding of {source.tokens}, "
                f"got {self.part.dimension}: add --model.init_args.part.init_args.dimension {size}"
            )

    def training_step(self, batch: dict[str, Any], index: int) -> Tensor:
        seed_step(self, self.seed)
        embedding = batch["embedding"]
        rows = len(embedding)
        random = torch.randn_like(embedding) / embedding.shape[1] ** 0.5
        moved = functional.normalize(embedding + self.noise * random, dim=1)
        moved = moved * (torch.rand(rows, 1, device=moved.device) >= self.embedding_dropout)
        said = ["" if torch.rand(()) < self.words_dropout else caption for caption in batch["caption"]]
        losses, kinds = self._losses(batch["tokens"], said, moved), self._kinds(batch["tokens"])
        # Kinds count alike: of some forty tokens one is the tempo, and it is what the words tell.
        loss = torch.stack([losses[kinds == kind].mean() for kind in kinds.unique()]).mean()
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Any], index: int) -> None:
        tokens, embedding = batch["tokens"], batch["embedding"]
        rows = len(tokens)
        told = self._losses(tokens, batch["caption"], embedding)
        untold = self._losses(tokens, [""] * rows, torch.zeros_like(embedding))
        kinds = self._kinds(tokens)
        figures = {"loss": told.mean(), "loss_untold": untold.mean()}
        for number, kind in enumerate((*HEADER, "chord")):
            of_kind = kinds == number
            figures |= {kind: told[of_kind].mean(), f"{kind}_untold": untold[of_kind].mean()}
        figures = {f"val/{name}": value for name, value in figures.items()}
        self.log_dict(figures, batch_size=rows, sync_dist=True)

    def configure_optimizers(self) -> Any:
        rate = partial(share_of_peak, steps=self.trainer.estimated_stepping_batches, warmup=self.warmup_steps)
        return scheduled(self.optimizer(self.part.parameters()), rate)

    def _losses(self, tokens: Tensor, captions: list[str], embedding: Tensor) -> Tensor:
        """Cross-entropy of each token that there is, in nats: [tokens]."""
        tokens = tokens[:, :LONGEST]
        context = self.part.context([words_of(caption, self.part.buckets) for caption in captions], embedding)
        logits = self.part(context, tokens[:, :-1].clamp(min=0))  # [B, N, V]
        losses = functional.cross_entropy(
            logits.flatten(0, 1), tokens.clamp(min=0).flatten(), reduction="none"
        )
        return losses[(tokens >= 0).flatten()]

    @staticmethod
    def _kinds(tokens: Tensor) -> Tensor:
        """Of each token that there is, which kind it is of: its place in the header, or after it."""
        tokens = tokens[:, :LONGEST]
        places = torch.arange(tokens.shape[1], device=tokens.device).clamp(max=len(HEADER))
        return places.expand_as(tokens)[tokens >= 0]
