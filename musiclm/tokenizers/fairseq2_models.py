"""What the project takes from fairseq2: no other file imports it.

fairseq2 0.8.1 looks for the system's libsndfile when it is imported, and fails on a machine without it,
although only its own audio reader needs it. `soundfile` carries a copy of the library and loads it under the
name that fairseq2 asks the loader for. So `soundfile` is imported first here, and others import from here.

Importing this file takes seconds: import it where a model is built.
"""

import warnings
from typing import Any

import soundfile  # noqa: F401

# isort: split
from fairseq2.models.transformer import AttentionBiasCache
from fairseq2.models.w2vbert import W2VBertConfig, convert_w2vbert_state_dict, create_w2vbert_model
from fairseq2.models.wav2vec2 import (
    StandardWav2Vec2Masker,
    Wav2Vec2EncoderFactory,
    Wav2Vec2VectorQuantizer,
    Wav2Vec2VectorQuantizerOutput,
)
from fairseq2.nn import BatchLayout, Linear
from fairseq2.runtime.dependency import get_dependency_resolver
from torch import Tensor

__all__ = [
    "BatchLayout",
    "Linear",
    "StandardWav2Vec2Masker",
    "W2VBertConfig",
    "Wav2Vec2EncoderFactory",
    "Wav2Vec2VectorQuantizer",
    "Wav2Vec2VectorQuantizerOutput",
    "convert_w2vbert_state_dict",
    "create_w2vbert_model",
    "encoder_layers",
    "w2v_bert_config",
]

with warnings.catch_warnings():
    # fairseq2 sets itself up for its first module, and warns of its own code. Here it does so once, quietly.
    warnings.filterwarnings("ignore", "`hg_exporter` is deprecated", DeprecationWarning)
    get_dependency_resolver()


def w2v_bert_config(
    *,
    num_layers: int,
    model_dim: int,
    num_heads: int,
    ffn_dim: int,
    conv_kernel: int,
    num_bert_layers: int,
    num_mels: int,
    stack: int,
    num_codebook_entries: int,
    final_dim: int,
    max_frames: int,
) -> W2VBertConfig:
    """fairseq2's default configuration, the published `600m`, at other sizes.

    Args:
        num_layers: conformer layers in all.
        model_dim: width D.
        num_heads: attention heads.
        ffn_dim: inner width of the feed-forward halves.
        conv_kernel: width of the depthwise convolution, in frames of the model.
        num_bert_layers: layers of the masked-prediction module.
        num_mels: mel bands of a log-mel frame.
        stack: log-mel frames that make one frame of the model.
        num_codebook_entries: entries of the Gumbel codebook.
        final_dim: width of the space in which the contrastive loss compares.
        max_frames: longest sequence, in frames of the model.
    """
    config = W2VBertConfig(num_bert_encoder_layers=num_bert_layers)
    w2v2 = config.w2v2_config
    w2v2.final_dim = final_dim
    w2v2.quantized_dim = model_dim
    w2v2.num_codebook_entries = num_codebook_entries
    encoder = w2v2.encoder_config
    encoder.model_dim = model_dim
    encoder.num_encoder_layers = num_layers
    encoder.num_encoder_attn_heads = num_heads
    encoder.ffn_inner_dim = ffn_dim
    encoder.depthwise_conv_kernel_size = conv_kernel
    encoder.num_fbank_channels = num_mels
    encoder.fbank_stride = stack
    encoder.feature_dim = num_mels * stack
    encoder.max_seq_len = max_frames
    return config


def encoder_layers(model: Any, frames: Tensor, layer: int) -> list[Tensor]:
    """Layers 0 … `layer` [B, T, D] of a model with fairseq2's `encoder_frontend` and `encoder`.

    Args:
        model: the model; layer 0 is the input of its first block.
        frames: log-mel frames [B, stack * T, num_mels].
        layer: the last one to compute.
    """
    hidden, layout = model.encoder_frontend(frames, BatchLayout.of(frames))
    outputs = [hidden]
    # Not through the encoder's own forward: its layer hook cannot stop it early.
    cache = AttentionBiasCache()
    for block in list(model.encoder.layers)[:layer]:
        hidden = block(hidden, layout, cache)
        outputs.append(hidden)
    return outputs
