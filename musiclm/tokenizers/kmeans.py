"""k-means centroids over features of w2v-BERT, with the normalisation that comes before them.

features [B, T, D] -> tokens [B, T]. Each dimension is first brought to zero mean and unit variance
(AudioLM [2209.03143], sec. III), since otherwise the few dimensions of large variance decide alone.
Learned by musiclm/training/kmeans.py.
"""

import torch
from torch import Tensor, nn

from musiclm.tokenizers.nearest import nearest


class KMeans(nn.Module):
    """Statistics and centroids of one layer's features.

    Args:
        num_centroids: MusicLM, sec. 4.1: 1024.
        dimension: width D of the features.
        layer: whose features these are, 0 … num_layers (see `W2VBert.features`).
    """

    mean: Tensor
    std: Tensor
    centroids: Tensor

    def __init__(self, num_centroids: int, dimension: int, *, layer: int) -> None:
        super().__init__()
        self.num_centroids = num_centroids
        self.dimension = dimension
        self.layer = layer
        self.register_buffer("mean", torch.zeros(dimension))
        self.register_buffer("std", torch.ones(dimension))
        self.register_buffer("centroids", torch.zeros(num_centroids, dimension))  # of normalised features

    def normalise(self, features: Tensor) -> Tensor:
        """Features [..., D] with zero mean and unit variance in each dimension."""
        return (features - self.mean) / self.std

    def assign(self, features: Tensor) -> Tensor:
        """Tokens [...] int64 of features [..., D]: the nearest centroid, the lowest of equally near ones."""
        points = self.normalise(features.float()).reshape(-1, self.dimension)
        return nearest(points, self.centroids).view(features.shape[:-1])
