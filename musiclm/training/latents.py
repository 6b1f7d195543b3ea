"""Learning the main directions of a codec's vectors from a token store's codes: no gradients, one pass."""

from collections.abc import Mapping
from typing import Any

import lightning
import torch
from torch import Tensor

from musiclm.tokenizers.codec_latents import CodecLatents
from musiclm.tokenizers.residual_vq import sum_of_entries


class LatentsTraining(lightning.LightningModule):
    """Gathers mean and covariance, batch by batch, of the vectors that `acoustic` codes stand for.

    Args:
        part: the directions to learn.
    """

    count: Tensor
    total: Tensor
    products: Tensor
    codebooks: Tensor
    role = "autoencoder"  # in a bundle

    def __init__(self, part: CodecLatents) -> None:
        super().__init__()
        self.part = part
        self.automatic_optimization = False
        size = part.codec_dimension
        self.register_buffer("count", torch.zeros((), dtype=torch.float64))
        self.register_buffer("total", torch.zeros(size, dtype=torch.float64))
        self.register_buffer("products", torch.zeros(size, size, dtype=torch.float64))
        self.register_buffer("codebooks", torch.zeros(0), persistent=False)

    def setup(self, stage: str) -> None:
        """Take the codec's entries from the data."""
        self.codebooks = self.trainer.datamodule.codebooks["acoustic"].float()  # type: ignore[attr-defined]
        if self.codebooks.shape[2] != self.part.codec_dimension:
            raise ValueError(
                f"expected vectors of {self.codebooks.shape[2]} dimensions, as the codec of the tokens has "
                f"them, got --model.init_args.part.init_args.codec_dimension {self.part.codec_dimension}"
            )

    def training_step(self, batch: Mapping[str, Tensor], index: int) -> None:
        # Lightning counts steps, and so writes checkpoints, by those of an optimizer: this one is empty.
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        vectors = self._vectors(batch)
        self.count += len(vectors)
        self.total += vectors.sum(dim=0)
        self.products += vectors.t() @ vectors
        optimizer.step()

    def on_fit_end(self) -> None:
        mean = self.total / self.count
        covariance = self.products / self.count - mean[:, None] * mean
        self.part.fit(mean.float(), covariance)

    def on_validation_start(self) -> None:
        if self.count:
            self.on_fit_end()

    def validation_step(self, batch: Mapping[str, Tensor], index: int) -> None:
        """The share of held-out variance that the directions keep."""
        vectors = self._vectors(batch).float().t()[None]
        lost = vectors - self.part.to_vectors(self.part.from_vectors(vectors))
        spread = vectors - self.part.mean[:, None]
        kept = 1 - lost.square().sum() / spread.square().sum()
        self.log("val/variance_kept", kept, batch_size=len(batch["acoustic"]))

    def configure_optimizers(self) -> Any:
        return torch.optim.SGD([torch.zeros(1)], lr=0.0)

    def _vectors(self, batch: Mapping[str, Tensor]) -> Tensor:
        """Float64 [N, D]."""
        vectors = sum_of_entries(self.codebooks.to(self.device), batch["acoustic"])
        return vectors.transpose(1, 2).flatten(0, 1).double()
