"""What an adapter learns, by what its base is: the next code, or the velocity of noisy latents."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from musiclm.bundle import Bundle
from musiclm.data.token_crops import TokenCrops
from musiclm.diffusion.denoiser import Denoiser
from musiclm.stages.adapters import Adaptable
from musiclm.stages.layout import Segment
from musiclm.stages.stage import Stage
from musiclm.training.dropout import drop_conditions, shares_dropped
from musiclm.training.stages import figures_of, level_losses
from musiclm.training.velocity import Noising, VelocityLoss

Losses = tuple[Tensor, dict[str, Tensor]]  # the loss, and what is logged


class Objective(Protocol):
    """A loss of a network on batches of token crops, and what it is said as."""

    measure: str  # its name

    def read(self, data: TokenCrops) -> None:
        """Take from the data what the loss needs of it, or raise ValueError where it is not there."""
        ...

    def learned(self, network: Any, batch: Mapping[str, Tensor]) -> Losses:
        """Of a training step, conditions being left out at random."""
        ...

    def measured(self, network: Any, batch: Mapping[str, Tensor], index: int) -> Losses:
        """Of a held-out batch, the same whenever it is measured."""
        ...

    def figure(self, loss: float) -> float:
        """The measure of a loss."""
        ...


@dataclass(frozen=True)
class Dropping:
    """How often conditions are left out, as in `shares_dropped`."""

    whole: float = 0.1
    timed: float = 0.5
    named: Mapping[str, float] | None = None
    joint: float = 0.0

    def shares(self, segments: Sequence[Segment]) -> dict[str, float]:
        """The share of the rows that lose each optional condition."""
        return shares_dropped(segments, self.whole, timed=self.timed, named=self.named, joint=self.joint)


class NextCode:
    """Mean cross-entropy of a stage's next code, in nats."""

    measure = "perplexity"

    def __init__(self, stage: Stage, dropping: Dropping) -> None:
        self.dropped = dropping.shares(stage.layout.conditions)
        self.joint = dropping.joint

    def read(self, data: TokenCrops) -> None:
        """See `Objective`."""

    def learned(self, network: Stage, batch: Mapping[str, Tensor]) -> Losses:
        """See `Objective`."""
        codes = drop_conditions(network.layout.pick(batch), self.dropped, joint=self.joint)
        losses = level_losses(network, codes)  # [Q]
        return losses.mean(), figures_of(losses, network.layout, "train")

    def measured(self, network: Stage, batch: Mapping[str, Tensor], index: int) -> Losses:
        """See `Objective`."""
        losses = level_losses(network, network.layout.pick(batch))
        return losses.mean(), figures_of(losses, network.layout, "val")

    def figure(self, loss: float) -> float:
        """See `Objective`."""
        return math.exp(loss)


class Velocity:
    """Mean squared error of a denoiser's velocity (`velocity.py`)."""

    measure = "loss"

    def __init__(self, denoiser: Denoiser, latents: Any, dropping: Dropping) -> None:
        # Semantic tokens are never left out: an adapter is to learn how notes sound, and not which there are.
        shares = dropping.shares(denoiser.segments) | {"semantic": 0.0}
        self.loss = VelocityLoss(denoiser, latents, Noising(), dropped=shares, joint_dropout=dropping.joint)

    def read(self, data: TokenCrops) -> None:
        """See `Objective`."""
        self.loss.read(data)

    def learned(self, network: Denoiser, batch: Mapping[str, Tensor]) -> Losses:
        """See `Objective`."""
        loss = self.loss.learned(network, batch)
        return loss, {"train/loss": loss.detach()}

    def measured(self, network: Denoiser, batch: Mapping[str, Tensor], index: int) -> Losses:
        """See `Objective`."""
        loss = self.loss.measured(network, batch, index)
        return loss, {"val/loss": loss}

    def figure(self, loss: float) -> float:
        """See `Objective`."""
        return loss


def objective_of(network: Adaptable, bundle: Bundle, dropping: Dropping) -> Objective:
    """What a network of a bundle learns.

    Raises:
        ValueError: it is neither a stage nor a denoiser.
    """
    if isinstance(network, Stage):
        return NextCode(network, dropping)
    if isinstance(network, Denoiser):
        return Velocity(network, bundle.load("autoencoder"), dropping)
    raise ValueError(f"expected a stage or a denoiser, got a {type(network).__name__}")
