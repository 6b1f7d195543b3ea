"""Learning of k-means centroids over w2v-BERT's features, without gradients.

First a sample of frames is gathered from random crops. It gives the mean and deviation of each dimension, and
faiss runs k-means on it in memory. The batches after that refine the centroids one at a time (mini-batch
k-means: a centroid is the running mean of the frames it was nearest to), so that training may go over more
frames than memory holds. A centroid that wins too few frames restarts at a random frame of the batch.
"""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor

from musiclm.bundle import load_component
from musiclm.metrics.codebooks import perplexity
from musiclm.tokenizers.kmeans import KMeans
from musiclm.tokenizers.nearest import nearest
from musiclm.tokenizers.protocols import SemanticEncoder

MIN_DEVIATION = 1e-4  # of a dimension: a constant one stays constant instead of dividing by zero


class KMeansTraining(LightningModule):
    """Fits a `KMeans` to one layer of a trained, frozen w2v-BERT.

    Args:
        part: the statistics and centroids to learn.
        w2v_bert: folder of the trained encoder (`runs/w2v_bert/part`).
        sample_frames: frames gathered before the centroids are computed. If the training ends earlier, those
            gathered until then are used.
        iterations: of faiss's k-means over the sample.
        restart_share: a centroid restarts when it wins fewer frames than this share of the even one.
        seed: of the sample's initial centroids and of restarts.

    Raises:
        FileNotFoundError: there is no encoder at `w2v_bert`.
        ValueError: the part does not fit the encoder, or (when the training ends) there were fewer frames
            than centroids.
    """

    sample: Tensor
    gathered: Tensor
    counts: Tensor

    role = "semantic_quantizer"  # in a bundle

    def __init__(
        self,
        part: KMeans,
        *,
        w2v_bert: Path,
        sample_frames: int = 262_144,
        iterations: int = 20,
        restart_share: float = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if sample_frames < part.num_centroids:
            raise ValueError(
                f"expected sample_frames >= {part.num_centroids}, one a centroid, got {sample_frames}"
            )
        encoder = load_component(w2v_bert)
        if not isinstance(encoder, SemanticEncoder):
            raise ValueError(f"expected a trained w2v-BERT at {w2v_bert}, found {type(encoder).__name__}")
        if part.dimension != encoder.model_dim or not 0 <= part.layer <= encoder.num_layers:
            raise ValueError(
                f"expected centroids of width {encoder.model_dim} of a layer from 0 to {encoder.num_layers}, "
                f"got width {part.dimension} of layer {part.layer}"
            )
        self.part = part
        self.iterations = iterations
        self.restart_share = restart_share
        self.seed = seed
        self.automatic_optimization = False
        # Not a submodule: the frozen encoder's weights do not belong into this training's checkpoints.
        self._encoder: tuple[Any] = (encoder,)
        self.register_buffer("sample", torch.zeros(sample_frames, part.dimension, dtype=torch.float16))
        self.register_buffer("gathered", torch.zeros((), dtype=torch.int64))
        # Frames each centroid is the running mean of; all zero until the sample's k-means has run.
        self.register_buffer("counts", torch.zeros(part.num_centroids))

    @property
    def fitted(self) -> bool:
        """Whether the centroids have been computed from the sample."""
        return bool(self.counts.any())

    @torch.no_grad()
    def features(self, waveform: Tensor) -> Tensor:
        """The frozen encoder's frames [N, D] of a batch of crops [B, 1, L]."""
        encoder = self._encoder[0].to(waveform.device)
        return encoder.features(waveform, self.part.layer).flatten(0, 1)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        # Lightning counts steps, and so writes checkpoints, by those of an optimizer: this one is empty.
        optimizer = self.optimizers()
        assert not isinstance(optimizer, list)
        features = self.features(batch["waveform"])
        if self.fitted:
            distortion = self.refine(features)
            self.log("train/distortion", distortion)
            self.log("train/effective_centroids", perplexity(self.counts))
        else:
            self.gather(features)
        self.log("train/frames", self.gathered.float())
        optimizer.step()

    def gather(self, features: Tensor) -> None:
        """Add frames [N, D] to the sample, and fit when it is full."""
        start = int(self.gathered)
        taken = features[: len(self.sample) - start]
        self.sample[start : start + len(taken)] = taken.half()
        self.gathered += len(taken)
        if self.gathered == len(self.sample):
            self.fit_sample()

    def fit_sample(self) -> None:
        """Statistics and centroids of the frames gathered so far."""
        import faiss

        frames = self.sample[: int(self.gathered)].float()
        if len(frames) < self.part.num_centroids:
            raise ValueError(
                f"expected at least {self.part.num_centroids} frames, one a centroid, got {len(frames)}; "
                f"train on more audio or with fewer centroids"
            )
        self.part.mean.copy_(frames.mean(dim=0))
        self.part.std.copy_(frames.std(dim=0).clamp(min=MIN_DEVIATION))
        points = self.part.normalise(frames)
        kmeans = faiss.Kmeans(
            self.part.dimension,
            self.part.num_centroids,
            niter=self.iterations,
            seed=self.seed,
            min_points_per_centroid=1,
            max_points_per_centroid=len(points),
        )
        kmeans.train(points.cpu().numpy())
        self.part.centroids.copy_(torch.from_numpy(kmeans.centroids))
        wins = nearest(points, self.part.centroids).bincount(minlength=self.part.num_centroids)
        # faiss fills empty clusters by splitting large ones; equal frames may still leave some.
        self.counts.copy_(wins.float().clamp(min=1))
        self.sample = self.sample[:0]

    def refine(self, features: Tensor) -> Tensor:
        """One mini-batch step over frames [N, D]; their mean squared distance to the centroids before it.

        Sculley, "Web-scale k-means clustering" (2010).
        """
        points = self.part.normalise(features)
        tokens = nearest(points, self.part.centroids)
        distortion = (points - self.part.centroids[tokens]).square().sum(dim=1).mean()
        wins = tokens.bincount(minlength=self.part.num_centroids).to(self.counts)  # [K]
        sums = torch.zeros_like(self.part.centroids).index_add_(0, tokens, points)  # [K, D]
        self.counts += wins
        self.part.centroids += (sums - wins[:, None] * self.part.centroids) / self.counts[:, None]

        weak = (self.counts < self.restart_share * self.counts.mean()).nonzero().flatten()[: len(points)]
        if len(weak):
            generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.global_step)
            chosen = torch.randperm(len(points), generator=generator)[: len(weak)].to(points.device)
            self.part.centroids[weak] = points[chosen]
            # As if it had won its even share, so that it is not restarted before it could win any.
            self.counts[weak] = self.counts.mean()
        return distortion

    def on_fit_end(self) -> None:
        if not self.fitted:
            self.fit_sample()

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        if not self.fitted:
            return
        points = self.part.normalise(self.features(batch["waveform"]))
        tokens = nearest(points, self.part.centroids)
        distortion = (points - self.part.centroids[tokens]).square().sum(dim=1).mean()
        used = tokens.bincount(minlength=self.part.num_centroids).to(points)
        # The share of variance that the tokens keep, 1 - distortion / D, needs no knowledge of D to be read.
        kept = 1 - distortion / points.square().sum(dim=1).mean()
        size = len(batch["waveform"])
        self.log("val/distortion", distortion, batch_size=size)
        self.log("val/variance_kept", kept, batch_size=size)
        self.log("val/effective_centroids", perplexity(used), batch_size=size)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD([torch.zeros(1)], lr=0.0)

    def load_state_dict(self, state_dict: Any, strict: bool = True, assign: bool = False) -> Any:
        """As usual; the sample of a fitted run is empty, and so it is after a resume."""
        if "sample" in state_dict:
            self.sample = self.sample[: len(state_dict["sample"])]
        return super().load_state_dict(state_dict, strict=strict, assign=assign)
