"""The semantic tokenizer: w2v-BERT features [2108.06209], normalised and assigned to k-means centroids.

waveform [B, 1, L] at 24 kHz -> log-mel at 100 Hz, four frames stacked -> conformer layers at 25 Hz
[B, T, D] -> tokens [B, T], T = ceil(L / 960). MusicLM, sec. 3.1: the features are those of a middle layer,
the centroids 1024. The model is fairseq2's `W2VBertModel`; training is in musiclm/training/w2v_bert.py.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from musiclm.extras import check_package
from musiclm.tokenizers.checks import check_waveform
from musiclm.tokenizers.kmeans import KMeans
from musiclm.tokenizers.mel import LogMel
from musiclm.tokenizers.protocols import SemanticEncoder
from musiclm.tokenizers.windows import Window, join, windows

SAMPLE_RATE = 24_000  # Hz, MusicLM, sec. 4.1
MEL_HOP = 240  # samples: 10 ms frames
STACK = 4  # log-mel frames per token, fairseq2's fbank_stride: 25 Hz
# 85 ms: neighbouring semitones part from about 200 Hz on; with speech's 25 ms only from 600 Hz on.
MEL_WINDOW = 2048
RANGE_DB = 50.0  # what lies this far below the mean of its window counts as silence
QUIET = 1e-5  # mean mel energy of noise at about -90 dB of full scale: a quieter window counts as silence


class W2VBert(nn.Module):
    """fairseq2's w2v-BERT behind `features(waveform, layer)`.

    The loudness of a window does not reach the model: energies are taken relative to the window's mean. Each
    mel band is then normalised by the mean and the deviation it had in training (part of the state), since
    otherwise the falling slope that all music's spectra share drowns what tells frames apart.

    Args:
        num_layers: conformer layers in all.
        model_dim: width D.
        num_heads: attention heads.
        ffn_dim: inner width of the feed-forward halves.
        conv_kernel: width of the depthwise convolution, in frames of 40 ms.
        num_bert_layers: how many of the layers, from the top, belong to the masked-prediction module; the
            ones below are the contrastive module.
        num_mels: mel bands.
        num_codebook_entries: entries of the Gumbel codebook that makes the targets.
        final_dim: width of the space in which the contrastive loss compares.
        window_seconds: what attention spans. Longer audio is cut into windows of this length.
        overlap_seconds: each window lends this much context to its neighbours on either side.
    """

    band_mean: Tensor
    band_std: Tensor

    # Heads and targets of the two losses: encoding does not use them.
    training_state = (
        "w2v2_model.masker.temporal_mask_embed",
        "w2v2_model.quantizer.num_updates",
        "w2v2_model.quantizer.entries",
        "w2v2_model.quantizer.entry_proj.weight",
        "w2v2_model.quantizer.entry_proj.bias",
        "w2v2_model.final_proj.weight",
        "w2v2_model.final_proj.bias",
        "w2v2_model.final_target_proj.weight",
        "w2v2_model.final_target_proj.bias",
        "final_bert_proj.weight",
        "final_bert_proj.bias",
    )

    def __init__(
        self,
        num_layers: int,
        model_dim: int,
        *,
        num_heads: int,
        ffn_dim: int,
        conv_kernel: int = 31,
        num_bert_layers: int,
        num_mels: int = 128,
        num_codebook_entries: int = 1024,
        final_dim: int = 256,
        window_seconds: float = 10.0,
        overlap_seconds: float = 1.0,
    ) -> None:
        super().__init__()
        if not 0 < num_bert_layers < num_layers:
            raise ValueError(
                f"expected 1 to {num_layers - 1} masked-prediction layers, got {num_bert_layers}"
            )
        if not 0 <= 2 * overlap_seconds < window_seconds:
            raise ValueError(
                f"expected an overlap below half of the window of {window_seconds} s, got {overlap_seconds} s"
            )
        self.num_layers = num_layers
        self.model_dim = model_dim
        self.sample_rate = SAMPLE_RATE
        self.hop_length = MEL_HOP * STACK
        self.window_frames = round(window_seconds * SAMPLE_RATE / self.hop_length)
        self.overlap_frames = round(overlap_seconds * SAMPLE_RATE / self.hop_length)
        self.mel = LogMel(
            SAMPLE_RATE, num_mels, window_length=MEL_WINDOW, hop_length=MEL_HOP, logarithm=False
        )
        self.register_buffer("band_mean", torch.zeros(num_mels))
        self.register_buffer("band_std", torch.ones(num_mels))

        check_package("fairseq2")
        from musiclm.tokenizers.fairseq2_models import create_w2vbert_model, w2v_bert_config
        from musiclm.tokenizers.gumbel import GumbelQuantizer

        config = w2v_bert_config(
            num_layers=num_layers,
            model_dim=model_dim,
            num_heads=num_heads,
            ffn_dim=ffn_dim,
            conv_kernel=conv_kernel,
            num_bert_layers=num_bert_layers,
            num_mels=num_mels,
            stack=STACK,
            num_codebook_entries=num_codebook_entries,
            final_dim=final_dim,
            max_frames=self.window_frames,
        )
        self.model = create_w2vbert_model(config)
        self.model.w2v2_model.quantizer = GumbelQuantizer(
            config.w2v2_config.encoder_config.feature_dim,
            config.w2v2_config.quantized_dim,
            config.w2v2_config.num_codebooks,
            config.w2v2_config.num_codebook_entries,
            config.w2v2_config.codebook_sampling_temperature,
        )

    @property
    def frame_rate(self) -> float:
        """Feature frames per second: 25."""
        return self.sample_rate / self.hop_length

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Log-mel frames [B, 4 * T, num_mels] of a window [B, 1, L]: 0 is silence, 1 the window's mean.

        One unit is RANGE_DB; what lies that far below the mean fades into 0, so that neither gain nor the
        noise floor matters.
        """
        length = waveform.shape[-1]
        frames = -(-length // self.hop_length)
        energy = self.mel(F.pad(waveform, (0, frames * self.hop_length - length)))  # [B, num_mels, 4*T + 1]
        energy = energy[..., : frames * STACK].transpose(1, 2).contiguous()  # [B, 4*T, num_mels]
        loudness = energy.mean(dim=(1, 2), keepdim=True).clamp(min=QUIET)
        floor = 10 ** (-RANGE_DB / 10)
        return (energy / loudness / floor).log1p() * (10 / RANGE_DB / torch.log(torch.tensor(10.0)))

    def frames(self, waveform: Tensor) -> Tensor:
        """The model's input: log-mel frames [B, 4 * T, num_mels], normalised in each band."""
        return (self.log_mel(waveform) - self.band_mean) / self.band_std

    def features(self, waveform: Tensor, layer: int) -> Tensor:
        """Frames [B, T, D] of a layer; 0 is the input of the first conformer layer, `num_layers` the output.

        T = ceil(L / 960). Layers above `layer` are not computed. In eval mode a row of a batch equals the
        same waveform alone.

        Args:
            waveform: [B, 1, L] in [-1, 1] at 24 kHz.
            layer: 0 … num_layers.

        Raises:
            ValueError: the waveform has another shape, no samples, or values that are not finite; or there is
                no such layer.
        """
        return join(self.pieces(waveform, layer), -(-waveform.shape[-1] // self.hop_length))

    def pieces(self, waveform: Tensor, layer: int) -> Iterator[Tensor]:
        """`features` a window at a time, [B, t, D] each: no more of a long recording is held at once."""
        if not 0 <= layer <= self.num_layers:
            raise ValueError(f"expected a layer from 0 to {self.num_layers}, got {layer}")
        for window in self._windows(waveform):
            yield window.own(self._layers(window.cut(waveform, self.hop_length), layer)[-1], dim=1)

    def all_features(self, waveform: Tensor, layer: int | None = None) -> list[Tensor]:
        """Frames [B, T, D] of each layer from 0 to `layer` (default: the last), as `features` gives them."""
        layer = self.num_layers if layer is None else layer
        pieces = [
            [window.own(out, dim=1) for out in self._layers(window.cut(waveform, self.hop_length), layer)]
            for window in self._windows(waveform)
        ]
        return [torch.cat(parts, dim=1) for parts in zip(*pieces, strict=True)]

    def _windows(self, waveform: Tensor) -> Iterator[Window]:
        check_waveform(waveform)
        frames = -(-waveform.shape[-1] // self.hop_length)
        return windows(frames, self.window_frames, self.overlap_frames)

    def _layers(self, waveform: Tensor, layer: int) -> list[Tensor]:
        """Frames [B, T, D] of layers 0 … `layer` of one window [B, 1, L]."""
        from musiclm.tokenizers.fairseq2_models import encoder_layers

        return encoder_layers(self.model.w2v2_model, self.frames(waveform), layer)


class W2VBertTokens(nn.Module):
    """The frozen semantic tokenizer: features of one layer, normalised, to the nearest centroid.

    Satisfies `SemanticTokenizer`. It stays in eval mode and without gradients whatever holds it.

    Args:
        w2v_bert: the trained encoder.
        kmeans: statistics and centroids of one of its layers.
    """

    def __init__(self, w2v_bert: SemanticEncoder, kmeans: KMeans) -> None:
        super().__init__()
        if kmeans.dimension != w2v_bert.model_dim or kmeans.layer > w2v_bert.num_layers:
            raise ValueError(
                f"expected centroids of width {w2v_bert.model_dim} of layer 0 to {w2v_bert.num_layers}, "
                f"got width {kmeans.dimension} of layer {kmeans.layer}; fit k-means on this w2v-BERT"
            )
        self.w2v_bert = w2v_bert
        self.kmeans = kmeans
        self.sample_rate = w2v_bert.sample_rate
        self.hop_length = w2v_bert.hop_length
        self.codebook_size = kmeans.num_centroids
        self.requires_grad_(False)
        self.eval()

    @property
    def frame_rate(self) -> float:
        """Tokens per second: 25."""
        return self.sample_rate / self.hop_length

    @property
    def codebooks(self) -> Tensor:
        """What the tokens stand for: [1, codebook_size, D]."""
        return self.kmeans.centroids[None]

    def train(self, mode: bool = True) -> "W2VBertTokens":
        """Frozen: stays in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def encode(self, waveform: Tensor) -> Tensor:
        """Tokens [B, T] int64 of a waveform [B, 1, L] in [-1, 1]; T = ceil(L / 960)."""
        # Each window's features are let go once they are tokens: those of hours would fill gigabytes.
        pieces = self.w2v_bert.pieces(waveform, self.kmeans.layer)
        return torch.cat([self.kmeans.assign(piece) for piece in pieces], dim=1)
