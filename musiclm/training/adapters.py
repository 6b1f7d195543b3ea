"""Training of an adapter: a stage or the denoiser of a bundle learns other music by a small change (LoRA).

The base is frozen, and in no checkpoint. The loss of held-out music decides: it is measured of the base
before the first step, and after every epoch; the adapter that was best is kept, which may be the one that
changes nothing; and where it has not become better for a while, the training ends. Few songs are learned by
heart within minutes, and that is what held-out music shows.
"""

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Literal, cast

import lightning
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from musiclm.bundle import Bundle
from musiclm.bundle.adapters import ROLES, base_role
from musiclm.data.store import TokenStore
from musiclm.data.token_crops import TokenCrops
from musiclm.diffusion.denoiser import Denoiser
from musiclm.stages.adapters import Adaptable, BlockSizes, StageAdapter, attach
from musiclm.stages.layout import Segment
from musiclm.stages.stage import Stage
from musiclm.training.objectives import Dropping, objective_of
from musiclm.training.processes import say
from musiclm.training.schedules import elapsed_share, length_of, scheduled, share_of_peak
from musiclm.training.seeds import seed_step

UNKNOWN = torch.finfo(torch.float32).max  # a loss before any is measured; finite, as all that is kept
StageName = Literal["semantic", "coarse", "fine", "denoiser"]


class AdapterTraining(lightning.LightningModule):
    """Trains an adapter of one stage, or of the denoiser, on token crops, as `TokenCrops` makes them.

    Args:
        part: the adapter to train; it takes the sizes of its base.
        base: the bundle whose stage learns: a shipped bundle's name, a folder, or a Hugging Face id.
        stage: which of its stages, or `denoiser`.
        optimizer: made from the adapter's parameters.
        warmup_steps, final_rate: of the learning rate, as in `StageTraining`.
        condition_dropout, timed_dropout, dropout, joint_dropout: of conditions, as in `StageTraining`.
        patience: validations in a row without a better one, after which the training ends; None for never.
        seed: of dropout; a step's draw depends on the seed and the step alone.
    """

    best_loss: Tensor
    base_loss: Tensor
    in_vain: Tensor

    def __init__(
        self,
        part: StageAdapter,
        base: str = "default",
        *,
        stage: StageName = "semantic",
        optimizer: OptimizerCallable = torch.optim.AdamW,
        warmup_steps: int = 20,
        final_rate: float = 0.1,
        condition_dropout: float = 0.1,
        timed_dropout: float = 0.5,
        dropout: dict[str, float] | None = None,
        joint_dropout: float = 0.0,
        patience: int | None = 4,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if warmup_steps < 0 or (patience is not None and patience < 1):
            raise ValueError(
                "expected warmup_steps of 0 or more and a patience of 1 or more, got "
                f"{warmup_steps}, {patience}"
            )
        self.bundle = Bundle.find(base)
        self.stage = base_role(stage)
        loaded = self.bundle.load(self.stage)
        self.part = StageAdapter(part.lora, sizes=BlockSizes.of(loaded))
        self.best = copy.deepcopy(self.part).requires_grad_(False)
        dropping = Dropping(condition_dropout, timed_dropout, dropout, joint_dropout)
        self.objective = objective_of(loaded, self.bundle, dropping)
        self._base: list[Adaptable] = [attach(loaded, self.part)]  # in a list: it is no part of what is kept
        self.register_buffer("best_loss", torch.tensor(UNKNOWN))  # of held-out music, in nats per code
        self.register_buffer("base_loss", torch.tensor(UNKNOWN))
        self.register_buffer("in_vain", torch.tensor(0))  # validations since the best one
        self._measured: list[tuple[Tensor, int]] = []  # losses and rows of a validation's batches
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.final_rate = final_rate
        self.patience = patience
        self.seed = seed

    @property
    def role(self) -> str:
        """Its role in a bundle: the adapter of its stage."""
        return ROLES[self.stage]

    @property
    def adapted(self) -> Adaptable:
        """The base with the adapter, where the adapter is."""
        return self._base[0].to(self.device)

    @property
    def _has_measured(self) -> bool:
        """Whether some music is held out."""
        return bool(self.best_loss < UNKNOWN)

    def setup(self, stage: str) -> None:
        """See that the tokens are those that the base has learned."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]  # None beside plain loaders
        if isinstance(data, TokenCrops):
            check_tokens(data, self.bundle, self.stage, self.adapted)
            self.objective.read(data)

    def training_step(self, batch: Mapping[str, Tensor], index: int) -> Tensor:
        seed_step(self, self.seed)
        loss, figures = self.objective.learned(self.adapted.train(), batch)
        self.log_dict(figures, batch_size=1)
        return loss

    def on_validation_start(self) -> None:
        self._measured = []
        if self.trainer.state.fn == "validate":
            self._take_best()

    def validation_step(self, batch: Mapping[str, Tensor], index: int) -> None:
        rows = len(batch["semantic"])
        loss, figures = self.objective.measured(self.adapted.eval(), batch, index)
        self._measured.append((loss, rows))
        self.log_dict(figures, batch_size=rows, sync_dist=True)

    def on_validation_epoch_end(self) -> None:
        """Keep the adapter if it is the best so far; end the training if none has been for a while."""
        losses, rows = zip(*self._measured, strict=True)
        weights = torch.tensor(rows, device=self.device, dtype=torch.float32)
        loss = (torch.stack(losses) * weights).sum() / weights.sum()
        loss = cast(Tensor, self.trainer.strategy.reduce(loss, reduce_op="mean"))
        if self.trainer.sanity_checking:  # before the first step the adapter is nothing yet
            if self.global_step == 0:
                self.base_loss.copy_(loss)
                self.best_loss.copy_(loss)
        elif self.trainer.state.fn == "fit":
            better = bool(loss < self.best_loss)
            self.in_vain.copy_(torch.where(loss < self.best_loss, 0, self.in_vain + 1))
            if better:
                self.best_loss.copy_(loss)
                self.best.load_state_dict(self.part.state_dict())
            self._stop_in_vain()

    def on_train_start(self) -> None:
        self._stop_in_vain()  # a run that had ended so does not begin again

    def on_fit_end(self) -> None:
        """The best adapter is the one to keep."""
        self._take_best()
        if self._has_measured:
            losses = (self.base_loss, self.best_loss)
            before, after = (self.objective.figure(float(loss)) for loss in losses)
            say(f"held-out {self.objective.measure} {before:.4g} before, {after:.4g} after")
            if not self.best_loss < self.base_loss:
                say("no step has made it better on held-out music: the adapter changes nothing")

    def configure_optimizers(self) -> Any:
        steps = length_of(self.trainer)

        def share(step: int) -> float:
            elapsed = elapsed_share(self.trainer) or 0.0
            return share_of_peak(
                step, steps, warmup=self.warmup_steps, final=self.final_rate, elapsed=elapsed
            )

        return scheduled(self.optimizer(self.part.parameters()), share)

    def _stop_in_vain(self) -> None:
        if self.patience is not None and int(self.in_vain) >= self.patience:
            self.trainer.should_stop = True

    def _take_best(self) -> None:
        if self._has_measured:
            self.part.load_state_dict(self.best.state_dict())


def segments_read(network: Adaptable) -> Sequence[Segment]:
    """What a stage or a denoiser reads of a batch by codes, what it learns to make among it."""
    return network.layout.segments if isinstance(network, Stage) else cast(Denoiser, network).segments


def check_tokens(data: TokenCrops, bundle: Bundle, role: str, network: Adaptable) -> None:
    """Raise ValueError where a stage or a denoiser has learned other tokens than those of the data.

    Args:
        data: the crops.
        bundle: whose network it is.
        role: of the network.
        network: which says what streams it reads.
    """
    streams = {stream.name: stream for stream in data.streams}
    segments = segments_read(network)
    for segment in segments:
        stream = streams.get(segment.key)
        if stream is None and segment.optional:
            continue
        if stream is None:
            raise ValueError(
                f"expected tokens with the stream {segment.key}, which the {role} of {bundle.path} reads, "
                f"{data.tokens} has {', '.join(streams)}: tokenize the music with all of them"
            )
        if stream.size != segment.codebook_size or stream.levels < segment.first_level + segment.levels:
            raise ValueError(
                f"expected {segment.key} of {segment.codebook_size} entries, which the {role} of "
                f"{bundle.path} reads, {data.tokens} has {stream.levels} levels of {stream.size}: tokenize "
                "the music with the bundle's own tokenizers"
            )
    read = [segment.key for segment in segments if segment.key in streams]
    TokenStore(data.tokens).check_learned_by(bundle, role, read)
    if isinstance(network, Denoiser) and "acoustic" in streams:  # of whose codes its latents are made
        TokenStore(data.tokens).check_learned_by(bundle, "autoencoder", ["acoustic"])
