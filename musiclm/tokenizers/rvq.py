"""Residual quantizer of embeddings: a vector as a few tokens (MusicLM, sec. 3.1 and appendix C).

vectors [B, D] -> encode -> codes [B, Q] -> decode -> [B, D]

Level 1 names the nearest of `codebook_size` entries, level 2 the nearest to what is left, and so on. The
codebooks are learned with faiss; encoding and decoding need torch only.
"""

import torch
from torch import Tensor, nn

from musiclm.tokenizers.nearest import nearest


class ResidualQuantizer(nn.Module):
    """Q codebooks, learned level by level with k-means on what the levels before leave over.

    Args:
        dimension: of the vectors.
        num_quantizers: levels.
        codebook_size: entries per level.
    """

    training_state: tuple[str, ...] = ()

    def __init__(self, dimension: int = 128, num_quantizers: int = 12, *, codebook_size: int = 1024) -> None:
        super().__init__()
        self.dimension = dimension
        self.num_quantizers = num_quantizers
        self.codebook_size = codebook_size
        # Parameters without gradients, so that a bundle may keep them in 8 bits as it keeps matrices.
        codebooks = torch.zeros(num_quantizers, codebook_size, dimension)
        self.codebooks = nn.Parameter(codebooks, requires_grad=False)

    @torch.no_grad()
    def encode(self, vectors: Tensor) -> Tensor:
        """Codes [B, Q] int64 of vectors [B, dimension], by the nearest entry at each level.

        A level looks at its own vector alone, so a row's codes do not depend on the rows beside it.
        """
        if vectors.dim() != 2 or vectors.shape[1] != self.dimension:
            raise ValueError(f"expected vectors [B, {self.dimension}], got {list(vectors.shape)}")
        if not vectors.isfinite().all():
            raise ValueError("expected finite vectors, got NaN or infinity")
        residual = vectors.to(self.codebooks.dtype)
        codes = []
        for codebook in self.codebooks:
            chosen = nearest(residual, codebook)  # [B]
            codes.append(chosen)
            residual = residual - codebook[chosen]
        return torch.stack(codes, dim=1)

    @torch.no_grad()
    def decode(self, codes: Tensor) -> Tensor:
        """Vectors [B, dimension] of codes [B, Q]; Q may be fewer than num_quantizers."""
        levels = codes.shape[1]
        if levels > self.num_quantizers:
            raise ValueError(f"expected at most {self.num_quantizers} levels of codes, got {levels}")
        return sum(
            (self.codebooks[level][codes[:, level]] for level in range(levels)),
            start=torch.zeros(len(codes), self.dimension, device=self.codebooks.device),
        )

    @torch.no_grad()
    def fit(self, vectors: Tensor, *, iterations: int = 25, seed: int = 0) -> list[float]:
        """Learn the codebooks from vectors [N, dimension]; the mean cosine of the decoded after each level.

        Raises:
            ValueError: fewer vectors than entries, or none that are finite.
        """
        if len(vectors) < self.codebook_size:
            raise ValueError(
                f"expected at least {self.codebook_size} vectors, one per entry, got {len(vectors)}: "
                "collect more crops or take a smaller codebook_size"
            )
        if not vectors.isfinite().all():
            raise ValueError("expected finite vectors, got NaN or infinity")
        import faiss

        residual = vectors.detach().float().cpu()
        for level in range(self.num_quantizers):
            kmeans = faiss.Kmeans(
                self.dimension,
                self.codebook_size,
                niter=iterations,
                seed=seed + level,
                # With fewer points than this faiss prints a warning per level, with more it takes a sample.
                min_points_per_centroid=1,
                max_points_per_centroid=256,
            )
            kmeans.train(residual.numpy())
            codebook = torch.from_numpy(kmeans.centroids).clone()  # [codebook_size, dimension]
            _, chosen = kmeans.index.search(residual.numpy(), 1)
            residual = residual - codebook[torch.from_numpy(chosen[:, 0])]
            self.codebooks[level] = codebook
        return self.reconstruction(vectors)

    @torch.no_grad()
    def reconstruction(self, vectors: Tensor) -> list[float]:
        """Mean cosine between vectors [N, dimension] and what the first 1, 2, … Q levels say of them."""
        codes = self.encode(vectors)
        cosines = []
        for levels in range(1, self.num_quantizers + 1):
            decoded = self.decode(codes[:, :levels])
            cosines.append(nn.functional.cosine_similarity(vectors, decoded).mean().item())
        return cosines
