"""Published w2v-BERT models in the place of our own: fairseq2's, and `w2v-bert-2.0` as Hugging Face keeps it.

    waveform [B, 1, L] at 24 kHz -> 16 kHz -> Kaldi's 80 log-mel bands at 100 Hz [B, 4 * T, 80]
    -> conformer layers, as a rule at 50 Hz [B, 2 * T, D] -> means over 40 ms [B, T, D] at 25 Hz

The two are different architectures behind the same input; a trunk is one of them. Each was trained at 50 Hz
and MusicLM's tokens come at 25 Hz: of two frames we take the mean, which keeps what both say and halves the
variance of their noise, where taking every second one would drop half. `musiclm import w2v_bert` makes a part
of published weights; k-means is then fitted on it as on our own.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musiclm.tokenizers.checks import check_waveform
from musiclm.tokenizers.w2v_bert import SAMPLE_RATE
from musiclm.tokenizers.windows import Window, join, windows

HOP_LENGTH = 960  # samples: 25 Hz, as MusicLM's tokens
MODEL_RATE = 16_000  # Hz, of all published w2v-BERT models
NUM_MELS = 80
MEL_STRIDE = 160  # samples at MODEL_RATE: 10 ms
MEL_WINDOW = 400  # samples at MODEL_RATE: 25 ms
FRAMES_PER_TOKEN = HOP_LENGTH * MODEL_RATE // SAMPLE_RATE // MEL_STRIDE  # 4
INT16 = 2**15  # Kaldi's full scale


class PublishedW2VBert(nn.Module):
    """A published model behind the interface of `W2VBert`: satisfies `SemanticEncoder`.

    Args:
        trunk: `Fairseq2Trunk` or `HuggingFaceTrunk`.
        window_seconds: what attention spans, and over which each mel band is brought to zero mean and unit
            variance, as the published models have it over an utterance. Longer audio is cut into such
            windows.
        overlap_seconds: each window lends this much context to its neighbours on either side.
    """

    def __init__(
        self,
        trunk: "Fairseq2Trunk | HuggingFaceTrunk",
        *,
        window_seconds: float = 10.0,
        overlap_seconds: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 <= 2 * overlap_seconds < window_seconds:
            raise ValueError(
                f"expected an overlap below half of the window of {window_seconds} s, got {overlap_seconds} s"
            )
        self.trunk = trunk
        self.num_layers = trunk.num_layers
        self.model_dim = trunk.model_dim
        self.sample_rate = SAMPLE_RATE
        self.hop_length = HOP_LENGTH
        self.window_frames = round(window_seconds * self.frame_rate)
        self.overlap_frames = round(overlap_seconds * self.frame_rate)

    @property
    def frame_rate(self) -> float:
        """Feature frames per second: 25."""
        return self.sample_rate / self.hop_length

    def frames(self, waveform: Tensor) -> Tensor:
        """Log-mel frames [B, 4 * T, 80] of a window [B, 1, L], each band standardised over the window.

        As fairseq2 and SeamlessM4T compute them, but that the end is padded: none of the audio is left out.
        """
        from torchaudio.compliance.kaldi import fbank
        from torchaudio.functional import resample

        frames = -(-waveform.shape[-1] // HOP_LENGTH)
        padded = F.pad(waveform, (0, frames * HOP_LENGTH - waveform.shape[-1]))
        speech = F.pad(resample(padded, SAMPLE_RATE, MODEL_RATE), (0, MEL_WINDOW - MEL_STRIDE)) * INT16
        mel = torch.stack([fbank(row, num_mel_bins=NUM_MELS) for row in speech])  # [B, 4 * T, 80]
        deviation = (mel.var(dim=1, keepdim=True) + 1e-7).sqrt()
        return (mel - mel.mean(dim=1, keepdim=True)) / deviation

    def features(self, waveform: Tensor, layer: int) -> Tensor:
        """Frames [B, T, D] of a layer; 0 is the input of the first conformer layer, `num_layers` the output.

        Args:
            waveform: [B, 1, L] in [-1, 1] at 24 kHz; T = ceil(L / 960).
            layer: 0 … num_layers; those above are not computed.

        Raises:
            ValueError: the waveform has another shape, no samples, or values that are not finite; or there is
                no such layer.
        """
        return join(self.pieces(waveform, layer), -(-waveform.shape[-1] // HOP_LENGTH))

    def pieces(self, waveform: Tensor, layer: int) -> Iterator[Tensor]:
        """`features` a window at a time, [B, t, D] each: no more of a long recording is held at once."""
        if not 0 <= layer <= self.num_layers:
            raise ValueError(f"expected a layer from 0 to {self.num_layers}, got {layer}")
        for window in self._windows(waveform):
            yield window.own(self._layers(window.cut(waveform, HOP_LENGTH), layer)[-1], dim=1)

    def all_features(self, waveform: Tensor, layer: int | None = None) -> list[Tensor]:
        """Frames [B, T, D] of each layer from 0 to `layer` (default: the last), as `features` gives them."""
        layer = self.num_layers if layer is None else layer
        pieces = [
            [window.own(out, dim=1) for out in self._layers(window.cut(waveform, HOP_LENGTH), layer)]
            for window in self._windows(waveform)
        ]
        return [torch.cat(parts, dim=1) for parts in zip(*pieces, strict=True)]

    def _windows(self, waveform: Tensor) -> Iterator[Window]:
        check_waveform(waveform)
        return windows(-(-waveform.shape[-1] // HOP_LENGTH), self.window_frames, self.overlap_frames)

    def _layers(self, waveform: Tensor, layer: int) -> list[Tensor]:
        """Frames [B, T, D] of layers 0 … `layer` of one window [B, 1, L]."""
        frames = self.frames(waveform)  # [B, 4 * T, 80]
        tokens = frames.shape[1] // FRAMES_PER_TOKEN
        return [output.unflatten(1, (tokens, -1)).mean(dim=2) for output in self.trunk(frames, layer)]


class Fairseq2Trunk(nn.Module):
    """The encoder of fairseq2's `W2VBertModel`, without what only its training needs.

    Args:
        num_layers, model_dim, num_heads, ffn_dim, conv_kernel: as in `W2VBert`; of fairseq2's `600m` by
            default.
        stack: log-mel frames in one frame of the model: 2 is 50 Hz.
    """

    def __init__(
        self,
        num_layers: int = 24,
        model_dim: int = 1024,
        *,
        num_heads: int = 16,
        ffn_dim: int = 4096,
        conv_kernel: int = 31,
        stack: int = 2,
    ) -> None:
        super().__init__()
        _check_stack(stack)
        self.num_layers = num_layers
        self.model_dim = model_dim
        from musiclm.tokenizers.fairseq2_models import W2VBertConfig, Wav2Vec2EncoderFactory

        config = W2VBertConfig().w2v2_config.encoder_config
        config.num_encoder_layers = num_layers
        config.model_dim = model_dim
        config.num_encoder_attn_heads = num_heads
        config.ffn_inner_dim = ffn_dim
        config.depthwise_conv_kernel_size = conv_kernel
        config.fbank_stride = stack
        config.feature_dim = NUM_MELS * stack
        factory = Wav2Vec2EncoderFactory(config)
        self.encoder_frontend = factory.create_encoder_frontend()
        self.encoder = factory.create_encoder()

    def forward(self, frames: Tensor, layer: int) -> list[Tensor]:
        """Layers 0 … `layer`, [B, N / stack, D] each, of log-mel frames [B, N, 80]."""
        from musiclm.tokenizers.fairseq2_models import encoder_layers

        return encoder_layers(self, frames, layer)


class HuggingFaceTrunk(nn.Module):
    """The encoder of transformers' `Wav2Vec2BertModel` as `facebook/w2v-bert-2.0` has it.

    Its convolutions are causal and normalised by layer, and its attention knows how far a key lies before
    (up to `left_positions` frames) or after (`right_positions`) the query.

    Args:
        num_layers, model_dim, num_heads, ffn_dim, conv_kernel: as in `W2VBert`; as published by default.
        stack: log-mel frames in one frame of the model: 2 is 50 Hz.
        left_positions, right_positions: in frames of the model.
    """

    def __init__(
        self,
        num_layers: int = 24,
        model_dim: int = 1024,
        *,
        num_heads: int = 16,
        ffn_dim: int = 4096,
        conv_kernel: int = 31,
        stack: int = 2,
        left_positions: int = 64,
        right_positions: int = 8,
    ) -> None:
        super().__init__()
        from transformers import Wav2Vec2BertConfig, Wav2Vec2BertModel

        _check_stack(stack)
        self.num_layers = num_layers
        self.model_dim = model_dim
        self.stack = stack
        model = Wav2Vec2BertModel(
            Wav2Vec2BertConfig(
                num_hidden_layers=num_layers,
                hidden_size=model_dim,
                num_attention_heads=num_heads,
                intermediate_size=ffn_dim,
                conv_depthwise_kernel_size=conv_kernel,
                feature_projection_input_dim=NUM_MELS * stack,
                left_max_position_embeddings=left_positions,
                right_max_position_embeddings=right_positions,
            )
        )
        self.feature_projection = model.feature_projection
        self.encoder = model.encoder

    def forward(self, frames: Tensor, layer: int) -> list[Tensor]:
        """Layers 0 … `layer`, [B, N / stack, D] each, of log-mel frames [B, N, 80]."""
        hidden, _ = self.feature_projection(frames.unflatten(1, (-1, self.stack)).flatten(2))
        outputs = [hidden]
        for block in list(self.encoder.layers)[:layer]:
            hidden = block(hidden)[0]
            outputs.append(hidden)
        return outputs


def _check_stack(stack: int) -> None:
    if stack < 1 or FRAMES_PER_TOKEN % stack:
        raise ValueError(
            f"expected 1, 2 or {FRAMES_PER_TOKEN} stacked frames of {NUM_MELS} bands, got {stack}"
        )
