"""Continuous latents of a codec: the vectors that its codes stand for, in their main directions.

A diffusion needs latents of a mean of 0 and about unit size, and no more dimensions than are used: those of
the default codec span some twenty of 64. The codes of a token store are its latents already, so that nothing
is heard twice. Normalised by the singular vectors of their covariance, as JEN-1 does (2308.04729, sec. 4.1).
"""

from typing import Protocol

import torch
from torch import Tensor, nn

from musiclm.tokenizers.protocols import AcousticTokenizer
from musiclm.tokenizers.residual_vq import sum_of_entries


class LatentCodec(AcousticTokenizer, Protocol):
    """A codec that decodes vectors which are no entries of its codebooks as well."""

    def decode_latents(self, latents: Tensor, *, prefix: Tensor | None = None) -> Tensor:
        """Waveform [B, 1, T * hop_length] of vectors [B, D, T], the sums of entries or others."""
        ...


class CodecLatents(nn.Module):
    """Between a codec's vectors and latents.

    Args:
        codec_dimension: D, of the codec's vectors.
        dimension: K, of the latents: the directions of the largest variance.
        whiten: divide each direction by its deviation; else all by the same number, so that the louder ones,
            which are heard more, stay larger.
    """

    mean: Tensor
    basis: Tensor
    scale: Tensor
    training_state: tuple[str, ...] = ()

    def __init__(self, codec_dimension: int = 64, dimension: int = 24, *, whiten: bool = False) -> None:
        super().__init__()
        if not 1 <= dimension <= codec_dimension:
            raise ValueError(f"expected a dimension of 1 to {codec_dimension}, got {dimension}")
        self.codec_dimension = codec_dimension
        self.dimension = dimension
        self.whiten = whiten
        self.register_buffer("mean", torch.zeros(codec_dimension))
        self.register_buffer("basis", torch.eye(codec_dimension)[:, :dimension].clone())  # [D, K]
        self.register_buffer("scale", torch.ones(dimension))

    def from_vectors(self, vectors: Tensor) -> Tensor:
        """Latents [B, K, T] of vectors [B, D, T]."""
        centred = vectors.transpose(1, 2) - self.mean
        return (centred @ self.basis / self.scale).transpose(1, 2)

    def to_vectors(self, latents: Tensor) -> Tensor:
        """Vectors [B, D, T] of latents [B, K, T]."""
        return (latents.transpose(1, 2) * self.scale @ self.basis.t() + self.mean).transpose(1, 2)

    @torch.no_grad()
    def fit(self, mean: Tensor, covariance: Tensor) -> float:
        """Learn the directions of vectors with this mean [D] and covariance [D, D].

        Returns:
            The share of the variance that they keep.
        """
        variances, directions = torch.linalg.eigh(covariance.double())  # ascending
        kept = variances.flip(0)[: self.dimension].clamp_min(0)
        self.mean.copy_(mean)
        self.basis.copy_(directions.flip(1)[:, : self.dimension])
        self.scale.copy_((kept if self.whiten else kept.mean().expand_as(kept)).sqrt().clamp_min(1e-4))
        return float(kept.sum() / variances.clamp_min(0).sum().clamp_min(1e-12))


class CodecAutoencoder:
    """An `Autoencoder` of a codec and the directions of its latents.

    Args:
        codec: whose encoder and decoder it has.
        latents: of the same codec.

    Raises:
        ValueError: they are of different sizes, or the codec decodes nothing but codes.
    """

    channels = 1

    def __init__(self, codec: LatentCodec, latents: CodecLatents) -> None:
        size = codec.codebooks.shape[2]
        if size != latents.codec_dimension or not hasattr(codec, "decode_latents"):
            raise ValueError(
                f"expected latents of a codec that decodes vectors of {latents.codec_dimension} dimensions, "
                f"got {type(codec).__name__} of {size}"
            )
        self.codec = codec
        self.latents = latents
        self.sample_rate = codec.sample_rate
        self.hop_length = codec.hop_length
        self.dimension = latents.dimension

    @property
    def frame_rate(self) -> float:
        """Latents per second."""
        return self.sample_rate / self.hop_length

    def encode(self, waveform: Tensor) -> Tensor:
        """Latents [B, K, T] of a waveform [B, 1, L], T = ceil(L / hop_length): those of its codes."""
        return self.of_codes(self.codec.encode(waveform))

    def of_codes(self, codes: Tensor) -> Tensor:
        """Latents [B, K, T] of codes [B, Q, T]."""
        return self.latents.from_vectors(sum_of_entries(self.codec.codebooks, codes))

    def decode(self, latents: Tensor, *, prefix: Tensor | None = None) -> Tensor:
        """Waveform [B, 1, T * hop_length] of latents [B, K, T]; see `AcousticTokenizer.decode`."""
        return self.codec.decode_latents(self.latents.to_vectors(latents), prefix=prefix)
