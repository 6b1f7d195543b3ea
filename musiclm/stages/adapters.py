"""Low-rank adapters: a network learns other music by a small change of its matrices (LoRA, 2106.09685).

A matrix W [outputs, inputs] of a block becomes W + alpha / rank * up @ down (sec. 4.1). `down` [rank, inputs]
begins random and `up` [outputs, rank] at zero, so that an adapted network begins as its base, to the bit. The
base, a stage or a denoiser, stays frozen. DoRA (2402.09353, sec. 4) also scales each row: the row keeps the
length that it has in W, times a `gain` [outputs] that is learned and begins at 1.

`attach` puts an adapter into its base for training. `merge` adds adapters to the base's own matrices: what
decodes afterwards (int8, the compiled step, CUDA graphs) is a stage like any other, and as fast.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeVar, cast, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Matrix = Literal["qkv", "attention_out", "feed_forward_in", "feed_forward_out"]  # of a block
MATRICES: tuple[Matrix, ...] = get_args(Matrix)
TINY = 1e-12  # no row is shorter, where one is divided by its length


@dataclass(frozen=True)
class LoraConfig:
    """How matrices are adapted.

    Args:
        rank: of the change of each matrix.
        alpha: the change is multiplied by alpha / rank, so that another rank needs no other learning rate.
        dropout: on what the change reads, in training.
        matrices: of each block that are adapted.
        dora: learn the length of each row by itself (DoRA).

    Raises:
        ValueError: a value is out of its range.
    """

    rank: int = 8
    alpha: float = 16.0
    dropout: float = 0.0
    matrices: Sequence[Matrix] = MATRICES
    dora: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1 or not 0 < self.alpha < float("inf") or not 0 <= self.dropout < 1:
            raise ValueError(
                "expected a rank of 1 or more, an alpha above 0 and a dropout in [0, 1), got "
                f"{self.rank}, {self.alpha:g}, {self.dropout:g}"
            )
        if not self.matrices or len(set(self.matrices)) < len(self.matrices):
            raise ValueError(f"expected different matrices of {', '.join(MATRICES)}, got {self.matrices}")
        if unknown := [name for name in self.matrices if name not in MATRICES]:
            raise ValueError(f"expected matrices of {', '.join(MATRICES)}, got {unknown[0]!r}")


class LowRank(nn.Module):
    """The change of one matrix.

    Args:
        inputs, outputs: of the matrix.
        config: of the adapter.
    """

    def __init__(self, inputs: int, outputs: int, config: LoraConfig) -> None:
        super().__init__()
        self.scale = config.alpha / config.rank
        self.dropout = config.dropout
        self.down = nn.Parameter(torch.randn(config.rank, inputs) * inputs**-0.5)
        self.up = nn.Parameter(torch.zeros(outputs, config.rank))
        self.gain = nn.Parameter(torch.ones(outputs)) if config.dora else None

    def forward(self, x: Tensor) -> Tensor:
        """What the change adds to the product, [..., outputs] of [..., inputs]."""
        x = F.dropout(x, self.dropout, self.training)
        return F.linear(F.linear(x, self.down), self.up) * self.scale

    def stretch(self, weight: Tensor) -> Tensor:
        """What each row is multiplied by, [outputs]: of DoRA alone.

        Args:
            weight: the base's matrix [outputs, inputs].
        """
        assert self.gain is not None
        with torch.no_grad():  # taken for constant in the backward pass (DoRA, sec. 4.3)
            changed = weight + self.scale * (self.up @ self.down)
            length = weight.norm(dim=1) / changed.norm(dim=1).clamp_min(TINY)
        return self.gain * length

    def delta(self, weight: Tensor) -> Tensor:
        """The whole change [outputs, inputs] of the base's matrix."""
        change = self.scale * (self.up @ self.down)
        if self.gain is None:
            return change
        return self.stretch(weight)[:, None] * (weight + change) - weight


class AdaptedMatrix(nn.Module):
    """A frozen matrix with its change, in the place of the matrix alone."""

    def __init__(self, matrix: nn.Linear, change: LowRank) -> None:
        super().__init__()
        self.matrix = matrix
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        """The product [..., outputs] of [..., inputs]."""
        y = self.matrix(x) + self.change(x)
        return y if self.change.gain is None else y * self.change.stretch(self.matrix.weight)


class Adaptable(nn.Module):
    """A network that an adapter can belong to: a stage, or a denoiser that is a plain transformer."""

    def matrices_to_adapt(self) -> list[dict[Matrix, str]]:
        """Of each block, where in the network its matrices are; no blocks where none can be adapted."""
        return []

    def matrix(self, name: str) -> nn.Linear:
        """A matrix by its name."""
        return cast(nn.Linear, self.get_submodule(name))


Network = TypeVar("Network", bound=Adaptable)


@dataclass(frozen=True)
class BlockSizes:
    """Sizes of a transformer's blocks: width, width of the gated feed-forward, how many there are."""

    width: int
    feed_forward: int
    layers: int

    @classmethod
    def of(cls, network: Adaptable) -> "BlockSizes":
        """Those of a network.

        Raises:
            ValueError: it has no blocks that an adapter could change.
        """
        blocks = network.matrices_to_adapt()
        if not blocks:
            raise ValueError(
                f"expected a network whose blocks an adapter can change, a {type(network).__name__} has none"
            )
        width = network.matrix(blocks[0]["qkv"]).in_features
        return cls(width, network.matrix(blocks[0]["feed_forward_out"]).in_features, len(blocks))


class StageAdapter(nn.Module):
    """The changes of all adapted matrices of a stage or a denoiser: what is trained, and what a bundle keeps.

    Args:
        lora: how matrices are adapted.
        sizes: of the blocks of its base. A configuration gives none, and training takes those of
            the base.
    """

    def __init__(self, lora: LoraConfig, *, sizes: BlockSizes | None = None) -> None:
        super().__init__()
        self.lora = lora
        self.sizes = sizes
        self.blocks = nn.ModuleList()
        if sizes is None:
            return
        width, feed_forward = sizes.width, sizes.feed_forward
        inputs_outputs: dict[Matrix, tuple[int, int]] = {
            "qkv": (width, 3 * width),
            "attention_out": (width, width),
            "feed_forward_in": (width, 2 * feed_forward),
            "feed_forward_out": (feed_forward, width),
        }
        for _ in range(sizes.layers):
            changes: dict[str, nn.Module] = {
                name: LowRank(*inputs_outputs[name], lora) for name in lora.matrices
            }
            self.blocks.append(nn.ModuleDict(changes))

    def init_args(self) -> dict[str, Any]:
        """The constructor's values, as a bundle keeps them."""
        assert self.sizes is not None
        lora = asdict(self.lora) | {"matrices": list(self.lora.matrices)}
        return {"lora": lora, "sizes": asdict(self.sizes)}

    def changes(self, block: int) -> dict[str, LowRank]:
        """The changes of a block's matrices, by name."""
        return dict(cast(nn.ModuleDict, self.blocks[block]).items())  # type: ignore[arg-type]

    def check_fits(self, network: Adaptable) -> None:
        """Raise ValueError for a network of another size."""
        if self.sizes != (found := BlockSizes.of(network)):
            raise ValueError(f"expected an adapter of blocks of the sizes {found}, got {self.sizes}")


def attach(network: Network, adapter: StageAdapter) -> Network:
    """Put an adapter into its base, in place: then the adapter's weights learn, and no others.

    Raises:
        ValueError: the network has other sizes.
    """
    adapter.check_fits(network)
    network.requires_grad_(False)
    adapter.requires_grad_(True)
    for number, names in enumerate(network.matrices_to_adapt()):
        for matrix, change in adapter.changes(number).items():
            name = names[cast(Matrix, matrix)]
            network.set_submodule(name, AdaptedMatrix(network.matrix(name), change))
    return network


@torch.no_grad()
def merge(network: Network, adapters: Iterable[tuple[StageAdapter, float]]) -> Network:
    """Add the changes of adapters, each times its scale, to a network's own matrices, in place.

    Each change is that of the base, whichever adapters there are: their order does not count.

    Args:
        network: the base, in float32; a stage before `prepare_to_decode`.
        adapters: with the scale of each: 1 is as it was trained, 0 is the base.

    Raises:
        ValueError: the network has other sizes.
    """
    adapters = list(adapters)
    if not adapters:
        return network
    for adapter, _ in adapters:
        adapter.check_fits(network)
    for number, names in enumerate(network.matrices_to_adapt()):
        for matrix, name in names.items():
            weight = network.matrix(name).weight
            deltas = [
                scale * change.to(weight.device).delta(weight)
                for adapter, scale in adapters
                if (change := adapter.changes(number).get(matrix)) is not None
            ]
            if deltas:
                weight += torch.stack(deltas).sum(dim=0)
    return network
