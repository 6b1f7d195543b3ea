"""What a tokenizer must offer to the rest of the system. A stage never knows which one it has."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from torch import Tensor

from musiclm.tokenizers.reading import Reading


class AcousticTokenizer(Protocol):
    """A neural codec: waveform to residual codes and back (SoundStream, EnCodec)."""

    sample_rate: int  # Hz
    hop_length: int  # samples per frame
    num_quantizers: int
    codebook_size: int

    @property
    def frame_rate(self) -> float:
        """Frames per second: sample_rate / hop_length."""
        ...

    @property
    def codebooks(self) -> Tensor:
        """What the codes stand for: entries [Q, codebook_size, D], which add up over the levels."""
        ...

    def encode(self, waveform: Tensor, *, num_quantizers: int | None = None) -> Tensor:
        """Codes [B, Q, T] int64 of a waveform [B, 1, L] in [-1, 1]; T = ceil(L / hop_length)."""
        ...

    def decode(self, codes: Tensor, *, prefix: Tensor | None = None) -> Tensor:
        """Waveform [B, 1, T * hop_length] of codes [B, Q, T]; Q may be fewer than num_quantizers.

        `prefix` [B, 1, n * hop_length], n <= T, is what the first n frames were decoded to before.
        """
        ...


class Autoencoder(Protocol):
    """Waveform to continuous latents and back: what a diffusion makes sound by."""

    sample_rate: int  # Hz
    channels: int  # C
    hop_length: int  # samples per frame
    dimension: int  # D, of a latent

    @property
    def frame_rate(self) -> float:
        """Latents per second: sample_rate / hop_length."""
        ...

    def encode(self, waveform: Tensor) -> Tensor:
        """Latents [B, D, T] of a waveform [B, C, L] in [-1, 1]; T = ceil(L / hop_length)."""
        ...

    def decode(self, latents: Tensor, *, prefix: Tensor | None = None) -> Tensor:
        """Waveform [B, C, T * hop_length] of latents [B, D, T].

        `prefix` [B, C, n * hop_length], n <= T, is what the first n frames were decoded to before.
        """
        ...


@runtime_checkable
class SemanticEncoder(Protocol):
    """Waveform to frames of features that k-means makes semantic tokens of (w2v-BERT, ours or published)."""

    sample_rate: int  # Hz
    hop_length: int  # samples per frame
    num_layers: int
    model_dim: int  # D

    @property
    def frame_rate(self) -> float:
        """Frames per second: sample_rate / hop_length."""
        ...

    def frames(self, waveform: Tensor) -> Tensor:
        """Its own input [B, n * T, bands] of a window [B, 1, L]: log-mel frames, n to a frame of features."""
        ...

    def features(self, waveform: Tensor, layer: int) -> Tensor:
        """Frames [B, T, D] of a layer, 0 … num_layers, of a waveform [B, 1, L]; T = ceil(L / hop_length)."""
        ...

    def pieces(self, waveform: Tensor, layer: int) -> Iterator[Tensor]:
        """`features` a window at a time, [B, t, D] each: no more of a long recording is held at once."""
        ...

    def all_features(self, waveform: Tensor, layer: int | None = None) -> list[Tensor]:
        """Frames [B, T, D] of each layer from 0 to `layer` (default: the last)."""
        ...


class SemanticTokenizer(Protocol):
    """Waveform to one stream of tokens that carry melody, harmony and rhythm (w2v-BERT with k-means)."""

    sample_rate: int  # Hz
    hop_length: int  # samples per token
    codebook_size: int

    @property
    def frame_rate(self) -> float:
        """Tokens per second: sample_rate / hop_length."""
        ...

    @property
    def codebooks(self) -> Tensor:
        """What the tokens stand for: entries [1, codebook_size, D]."""
        ...

    def encode(self, waveform: Tensor) -> Tensor:
        """Tokens [B, T] int64 of a waveform [B, 1, L] in [-1, 1]; T = ceil(L / hop_length)."""
        ...


class JointEmbedding(Protocol):
    """Text and audio in one space, on the unit sphere (MuLan, CLAP, MuQ-MuLan)."""

    dimension: int
    window_seconds: float  # length of audio that one embedding sees

    @property
    def sample_rate(self) -> int:
        """Hz of the waveforms that it takes, whatever it makes of them inside."""
        ...

    def embed_audio(self, waveform: Tensor) -> Tensor:
        """Embeddings [B, dimension] of waveforms [B, 1, L] of any length, the average over their windows."""
        ...

    def embed_windows(self, waveform: Tensor) -> Tensor:
        """Embeddings [W, dimension] of one recording [1, 1, L], window `i` beginning at second `i`."""
        ...

    def embed_text(self, texts: list[str]) -> Tensor:
        """Embeddings [B, dimension] of descriptions."""
        ...

    def reading(self, text: str) -> Reading:
        """What of a description counts: the words that the tower has met, up to where it stops reading."""
        ...


@runtime_checkable
class KnowsWords(Protocol):
    """A part that was trained on captions, and can tell which words they had (MuLan)."""

    words: frozenset[str]
