"""SoundStream: the acoustic tokenizer (arXiv 2107.03312, in the 24 kHz form of MusicLM, sec. 4.1).

Waveform [B, 1, L] goes through an encoder to latents [B, D, T], through a residual quantizer to codes
[B, Q, T], and through a decoder back to a waveform [B, 1, T * hop_length]. The trunk, encoder and decoder, is
injected: the paper's convolutions (`seanet.py`) or a spectral one, far cheaper on a CPU (`convnext.py`).
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musiclm.tokenizers.checks import check_codes, check_levels, check_waveform
from musiclm.tokenizers.residual_vq import ResidualVectorQuantizer
from musiclm.tokenizers.streaming import CodecStream

CHUNK_SECONDS = 30.0  # of a long recording that is encoded at once: the paper's trunk needs about 1 GB for it


class Reconstruction(NamedTuple):
    waveform: Tensor  # [B, 1, L], as long as the input
    codes: Tensor  # [B, Q, T] int64
    commitment: Tensor  # [] how far the latents are from their entries; part of the training loss


class SoundStream(nn.Module):
    """A neural codec whose codes are nested: the first k levels alone decode to a coarser sound.

    Args:
        encoder: waveform [B, 1, T * hop_length] to latents [B, dimension, T].
        decoder: latents [B, dimension, T] to waveform [B, 1, T * hop_length]; its second argument is how the
            waveform begins, [B, 1, n * hop_length], or None, for trunks whose codes leave the phase open.
        dimension: D, size of a latent frame.
        num_quantizers: Q, levels of residual quantization.
        codebook_size: entries in each level's codebook.
        sample_rate: Hz.
        hop_length: samples per frame.
    """

    training_state = ResidualVectorQuantizer.training_state

    def __init__(
        self,
        encoder: nn.Module,
        decoder: nn.Module,
        *,
        dimension: int,
        num_quantizers: int = 12,
        codebook_size: int = 1024,
        sample_rate: int = 24000,
        hop_length: int = 480,
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder
        self.quantizer = ResidualVectorQuantizer(
            dimension, num_quantizers=num_quantizers, codebook_size=codebook_size
        )
        self.num_quantizers = num_quantizers
        self.codebook_size = codebook_size
        self.sample_rate = sample_rate
        self.hop_length = hop_length

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    @property
    def bitrate(self) -> float:
        """Bits per second of the codes of all levels."""
        return self.bitrate_of(self.num_quantizers)

    def bitrate_of(self, num_quantizers: int) -> float:
        """Bits per second of the codes of the first `num_quantizers` levels."""
        levels = check_levels(num_quantizers, self.num_quantizers)
        return levels * math.log2(self.codebook_size) * self.frame_rate

    @property
    def codebooks(self) -> Tensor:
        """What the codes stand for: [Q, codebook_size, D]."""
        return self.quantizer.codebooks

    def forward(
        self, waveform: Tensor, num_quantizers: Tensor | None = None, *, quantize: bool = True
    ) -> Reconstruction:
        """Waveform [B, 1, L] through the bottleneck and back; in training mode, the codebooks learn.

        Args:
            waveform: in [-1, 1].
            num_quantizers: [B] int64, levels that each example may use (quantizer dropout); None for all.
            quantize: False lets the latents pass as they are, for the first steps of training.
        """
        length = waveform.shape[-1]
        padded = self._pad(waveform)
        quantized = self.quantizer(self.encoder(padded), num_quantizers, quantize=quantize)
        output = self.decoder(quantized.latents, padded)[..., :length]  # [B, 1, L]
        return Reconstruction(output, quantized.codes, quantized.commitment)

    @torch.no_grad()
    def encode(self, waveform: Tensor, *, num_quantizers: int | None = None) -> Tensor:
        """Codes [B, Q, T] int64 of a waveform [B, 1, L]; T = ceil(L / hop_length).

        A long waveform is streamed, so that memory does not grow with it: the latents are those of the whole
        but for the rounding of float32.

        Args:
            waveform: in [-1, 1] at `sample_rate`.
            num_quantizers: levels to compute, 1 … num_quantizers; None for all.
        """
        check_waveform(waveform)
        levels = check_levels(num_quantizers, self.num_quantizers)
        chunks = waveform.split(round(CHUNK_SECONDS * self.sample_rate), dim=-1)
        if len(chunks) == 1 or self.training:  # only a frozen codec streams
            return self.quantizer.encode(self.encoder(self._pad(waveform)), levels)
        with self.streaming(num_quantizers=levels) as stream:
            ends = [False] * (len(chunks) - 1) + [True]
            pieces = [stream.encode(chunk, last=last) for chunk, last in zip(chunks, ends, strict=True)]
        return torch.cat(pieces, dim=2)

    @torch.no_grad()
    def decode(self, codes: Tensor, *, prefix: Tensor | None = None) -> Tensor:
        """Waveform [B, 1, T * hop_length] in [-1, 1] of codes [B, Q, T]; Q may be 1 … num_quantizers.

        Args:
            codes: from `encode`.
            prefix: [B, 1, n * hop_length], n <= T: sound that the first n frames were decoded to before,
                for the phase to run on from.
        """
        check_codes(codes, num_quantizers=self.num_quantizers, codebook_size=self.codebook_size)
        return self.decode_latents(self.quantizer.decode(codes), prefix=prefix)

    @torch.no_grad()
    def decode_latents(self, latents: Tensor, *, prefix: Tensor | None = None) -> Tensor:
        """The same of latents [B, D, T], which need not be sums of entries."""
        return self.decoder(latents, prefix).clamp(-1.0, 1.0)

    @contextmanager
    def streaming(self, *, num_quantizers: int | None = None) -> Iterator[CodecStream]:
        """`encode` and `decode` chunk by chunk, until the `with` block ends; see `streaming.py`.

        Args:
            num_quantizers: levels to compute, 1 … num_quantizers; None for all.
        """
        stream = CodecStream(self, check_levels(num_quantizers, self.num_quantizers))
        try:
            yield stream
        finally:
            stream.close()

    def _pad(self, waveform: Tensor) -> Tensor:
        """Append silence up to a whole number of frames."""
        length = waveform.shape[-1]
        return F.pad(waveform, (0, math.ceil(length / self.hop_length) * self.hop_length - length))
