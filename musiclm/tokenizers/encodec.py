"""EnCodec (arXiv 2210.13438): the published codec for 24 kHz, in SoundStream's place.

Waveform [B, 1, L] to codes [B, Q, T] at 75 frames/s and back, with the `encodec` package's own encoder,
quantizer and decoder. Their weights are published as one file; `musiclm import encodec` makes a part of it
(`musiclm/published/encodec.py`), which is then stored, loaded and exchanged as any other. The part has no
weight normalisation: what it stands for is computed once, on import.
"""

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import torch
from encodec import EncodecModel
from encodec.modules import SLSTM, SEANetDecoder, SEANetEncoder
from encodec.quantization import ResidualVectorQuantizer
from torch import Tensor, nn
from torch.nn.utils import remove_weight_norm

from musiclm.tokenizers.checks import check_codes, check_levels, check_waveform

PUBLISHED_LEVELS = 32  # 24 kbit/s; every number of levels from 1 on was trained
# Frames, 10 s, that the layers at audio rates are given at once: for a whole song they would take gigabytes.
STRETCH = 750
CONTEXT = 2  # frames before a stretch that reach into it: convolutions look back 478 samples of 320 a frame


class EnCodec(nn.Module):
    """The published 24 kHz model behind the interface of `AcousticTokenizer`.

    Args:
        num_quantizers: Q, how many of the 32 levels to keep; 8 are 6 kbit/s, as MusicLM's SoundStream.
    """

    # The package keeps in every codebook what its training needs.
    training_state = ("inited", "cluster_size", "embed_avg")

    sample_rate = 24_000
    hop_length = 320
    codebook_size = 1024

    def __init__(self, num_quantizers: int = 8) -> None:
        super().__init__()
        if not 1 <= num_quantizers <= PUBLISHED_LEVELS:
            raise ValueError(f"expected num_quantizers of 1 … {PUBLISHED_LEVELS}, got {num_quantizers}")
        self.num_quantizers = num_quantizers
        self.encoder = SEANetEncoder(causal=True, norm="none")
        self.decoder = SEANetDecoder(causal=True, norm="none")
        self.quantizer = ResidualVectorQuantizer(
            self.encoder.dimension, n_q=num_quantizers, bins=self.codebook_size
        )

    @classmethod
    def from_published(cls, state: Mapping[str, Any], num_quantizers: int = 8) -> "EnCodec":
        """The codec of the published state dict, its first `num_quantizers` levels kept.

        Raises:
            ValueError: the state is not that of the 24 kHz model.
        """
        codec = cls(num_quantizers)
        with warnings.catch_warnings():  # the package calls torch's older weight_norm
            warnings.filterwarnings("ignore", "`torch.nn.utils.weight_norm` is deprecated", FutureWarning)
            published = EncodecModel.encodec_model_24khz(pretrained=False)
        try:
            published.load_state_dict(state)
        except RuntimeError as error:
            raise ValueError(
                "expected the weights of EnCodec's 24 kHz model (encodec_24khz-d7cc33bc.th), got others: "
                f"{str(error).splitlines()[-1].strip()[:200]}"
            ) from None
        for module in published.modules():
            if isinstance(module, nn.Conv1d | nn.ConvTranspose1d):
                remove_weight_norm(module)
        kept = codec.state_dict().keys()  # the same names, of fewer levels
        codec.load_state_dict({key: value for key, value in published.state_dict().items() if key in kept})
        return codec.eval().requires_grad_(False)

    @property
    def frame_rate(self) -> float:
        """Frames per second."""
        return self.sample_rate / self.hop_length

    @property
    def codebooks(self) -> Tensor:
        """What the codes stand for: [Q, codebook_size, D]."""
        layers = self.quantizer.vq.layers
        return torch.stack([state for name, state in layers.state_dict().items() if name.endswith(".embed")])

    @torch.no_grad()
    def encode(self, waveform: Tensor, *, num_quantizers: int | None = None) -> Tensor:
        """Codes [B, Q, T] int64 of a waveform [B, 1, L]; T = ceil(L / hop_length).

        Args:
            waveform: in [-1, 1] at `sample_rate`.
            num_quantizers: levels to compute, 1 … num_quantizers; None for all.
        """
        check_waveform(waveform)
        levels = check_levels(num_quantizers, self.num_quantizers)
        layers = self.encoder.model
        recurrent = _recurrent(layers)
        hop = self.hop_length
        features = in_stretches(layers[:recurrent], waveform, STRETCH * hop, CONTEXT * hop, rate=1 / hop)
        latents = layers[recurrent:](features)  # [B, D, T]
        return self.quantizer.vq.encode(latents, levels).transpose(0, 1)

    @torch.no_grad()
    def decode(self, codes: Tensor, *, prefix: Tensor | None = None) -> Tensor:
        """Waveform [B, 1, T * hop_length] in [-1, 1] of codes [B, Q, T]; Q may be 1 … num_quantizers.

        Args:
            codes: from `encode`.
            prefix: not needed, the codes determine the phase however the sound began.
        """
        check_codes(codes, num_quantizers=self.num_quantizers, codebook_size=self.codebook_size)
        return self.decode_latents(self.quantizer.decode(codes.transpose(0, 1)), prefix=prefix)

    @torch.no_grad()
    def decode_latents(self, latents: Tensor, *, prefix: Tensor | None = None) -> Tensor:
        """The same of latents [B, D, T], which need not be sums of entries."""
        layers = self.decoder.model
        recurrent = _recurrent(layers)
        features = layers[: recurrent + 1](latents)
        waveform = in_stretches(layers[recurrent + 1 :], features, STRETCH, CONTEXT, rate=self.hop_length)
        return waveform.clamp(-1.0, 1.0)


def in_stretches(
    layers: Callable[[Tensor], Tensor], inputs: Tensor, stretch: int, context: int, *, rate: float
) -> Tensor:
    """What causal `layers` make of inputs [B, C, L], `stretch` steps at a time: the same, in bounded memory.

    Args:
        layers: convolutions; each output step depends on `context` input steps before it at most.
        inputs: cut at multiples of `stretch`, which must be whole steps of the output.
        stretch, context: steps of the input.
        rate: output steps per input step.
    """
    outputs = []
    for start in range(0, inputs.shape[-1], stretch):
        before = min(context, start)
        output = layers(inputs[..., start - before : start + stretch])
        outputs.append(output[..., round(before * rate) :])
    return torch.cat(outputs, dim=-1)


def _recurrent(layers: nn.Sequential) -> int:
    """Where the LSTM is, the one layer that remembers without end."""
    return next(index for index, layer in enumerate(layers) if isinstance(layer, SLSTM))
