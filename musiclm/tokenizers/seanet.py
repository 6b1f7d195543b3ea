"""The paper's trunk for SoundStream: encodec's SEANet blocks, shaped as in SoundStream, sec. III-A, III-B.

Three residual units of dilations 1, 3, 9 before each strided convolution, causal, ELU, no normalisation, no
LSTM. `ratios` are the decoder's upsampling factors in order; their product is the hop length (8·6·5·2 = 480).
"""

from typing import Any, cast

from encodec.modules import SConv1d, SConvTranspose1d
from encodec.modules import SEANetDecoder as EncodecDecoder
from encodec.modules import SEANetEncoder as EncodecEncoder
from encodec.modules.seanet import SEANetResnetBlock
from torch import Tensor, nn

from musiclm.tokenizers.streaming import (
    Residual,
    Stream,
    chain,
    convolution,
    each,
    transposed_convolution,
)

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

    lookahead = 0  # causal

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

    def stream(self) -> Stream:
        return _streamed(self.trunk.model)


class SEANetDecoder(nn.Module):
    """Latents [B, dimension, T] to waveform [B, 1, T * hop]; the arguments mirror the encoder's."""

    lookahead = 0  # causal

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

    def forward(self, latents: Tensor, prefix: Tensor | None = None) -> Tensor:
        return self.trunk(latents)  # the codes determine the phase, however the sound began

    def stream(self) -> Stream:
        return _streamed(self.trunk.model)


def _streamed(layer: nn.Module) -> Stream:
    """One of encodec's layers, as built by `_words`, chunk by chunk."""
    if isinstance(layer, nn.Sequential):
        return chain([_streamed(inner) for inner in layer])
    if isinstance(layer, SEANetResnetBlock):
        return Residual(_streamed(layer.block))
    if isinstance(layer, SConv1d):
        conv = cast(nn.Conv1d, layer.conv.conv)
        return convolution(conv, before=(conv.kernel_size[0] - 1) * conv.dilation[0] + 1 - conv.stride[0])
    if isinstance(layer, SConvTranspose1d):
        return transposed_convolution(cast(nn.ConvTranspose1d, layer.convtr.convtr))
    return each(layer)  # the nonlinearity


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
