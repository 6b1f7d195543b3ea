"""Makers of tiny codecs, one for each trunk."""

import torch
from torch import Tensor

from musiclm.tokenizers.convnext import ConvNeXtDecoder, ConvNeXtEncoder
from musiclm.tokenizers.low_band import LowBand
from musiclm.tokenizers.seanet import SEANetDecoder, SEANetEncoder
from musiclm.tokenizers.soundstream import SoundStream

HOP = 480
LEVELS = 3
ENTRIES = 8
DIMENSION = 6


def fill_codebooks(codec: SoundStream) -> SoundStream:
    """Give every level its codebook without training: random entries, smaller with each level."""
    shape = codec.quantizer.codebooks.shape
    scale = 0.5 ** torch.arange(shape[0])[:, None, None]
    codec.quantizer.codebooks.copy_(torch.randn(shape) * scale)
    codec.quantizer.is_initialized.fill_(True)
    return codec.eval()


def spectral_codec(low_band: LowBand | None = None) -> SoundStream:
    torch.manual_seed(0)
    return SoundStream(
        ConvNeXtEncoder(DIMENSION, width=16, hidden=24, depth=1),
        ConvNeXtDecoder(DIMENSION, width=16, hidden=24, depth=1, low_band=low_band),
        dimension=DIMENSION,
        num_quantizers=LEVELS,
        codebook_size=ENTRIES,
    )


def seanet_codec() -> SoundStream:
    torch.manual_seed(0)
    return SoundStream(
        SEANetEncoder(DIMENSION, width=2, residual_kernel=3),
        SEANetDecoder(DIMENSION, width=2, residual_kernel=3),
        dimension=DIMENSION,
        num_quantizers=LEVELS,
        codebook_size=ENTRIES,
    )


def noise(*shape: int) -> Tensor:
    return 0.3 * torch.randn(*shape, generator=torch.Generator().manual_seed(1))


SPECTRAL = fill_codebooks(spectral_codec())
LOW_BAND = fill_codebooks(spectral_codec(LowBand(DIMENSION, bins=20, width=8, hidden=12, depth=2)))
SEANET = fill_codebooks(seanet_codec())
