"""The paper's trunk for SoundStream: encodec's SEANet blocks, shaped as in SoundStream, sec. III-A, III-B.

Three residual units of dilations 1, 3, 9 before each strided convolution, causal, ELU, no normalisation, no
LSTM. `ratios` are the decoder's upsampling factors in order; their product is the hop length (8·6·5·2 = 480).
"""

from typing import Any

from encodec.modules import SEANetDecoder as EncodecDecoder
from encodec.modules import SEANetEncoder as EncodecEncoder
from torch import Tensor, nn

RATIOS = (8, 6, 5, 2)  # MusicLM, sec. 4.1: 50 frames/s at 24 kHz


class SEANetEncoder(nn.Module):
    """Waveform [B, 1, T * hop] to latents [B, dimension, T].

    Args:
        dimension: D, size of a latent frame.
        width: channels at the waveform's rate, doubled by each strided convolution (C in the paper).
        ratios: strides, last one first.
        residual_kernel: kernel size of the residual units' dilated convolution.
        compress: divides the channels inside a residual unit.
    """

    def __init__(
        self,
        dimension: int,
        *,
        width: int = 32,
        ratios: tuple[int, ...] = RATIOS,
        residual_kernel: int = 7,
        compress: int = 1,
    ) -> None:
        super().__init__()
        words = _words(width, ratios, residual_kernel, compress)
        self.trunk = EncodecEncoder(dimension=dimension, last_kernel_size=3, **words)

    def forward(self, waveform: Tensor) -> Tensor:
        return self.trunk(waveform)


class SEANetDecoder(nn.Module):
    """Latents [B, dimension, T] to waveform [B, 1, T * hop]; the arguments mirror the encoder's."""

    def __init__(
        self,
        dimension: int,
        *,
        width: int = 32,
        ratios: tuple[int, ...] = RATIOS,
        residual_kernel: int = 7,
        compress: int = 1,
    ) -> None:
        super().__init__()
        words = _words(width, ratios, residual_kernel, compress)
        self.trunk = EncodecDecoder(dimension=dimension, last_kernel_size=7, **words)

    def forward(self, latents: Tensor, begun: Tensor | None = None) -> Tensor:
        return self.trunk(latents)  # the codes determine the phase, however the sound began


def _words(width: int, ratios: tuple[int, ...], residual_kernel: int, compress: int) -> dict[str, Any]:
    """What both halves of the trunk are told."""
    return {
        "n_filters": width,
        "n_residual_layers": 3,
        "dilation_base": 3,
        "ratios": list(ratios),
        "norm": "none",
        "kernel_size": 7,
        "residual_kernel_size": residual_kernel,
        "causal": True,
        "pad_mode": "constant",  # encodec's default, "reflect", would show a clip's first frames its future
        "true_skip": True,
        "compress": compress,
        "lstm": 0,
    }
