"""`musiclm import w2v_bert`: published w2v-BERT weights as a part that k-means is fitted on."""

from pathlib import Path
from typing import Any

from torch import Tensor

from musiclm.bundle import Storage, build, save_component
from musiclm.tokenizers.hub import read_json
from musiclm.tokenizers.published_weights import read_published

PUBLISHED_W2V_BERT = "musiclm.tokenizers.w2v_bert_published."


def w2v_bert(path: Path, out: Path = Path("runs/w2v_bert/part"), storage: Storage = "float32") -> None:
    """Turn a published w2v-BERT into a part that k-means is fitted on, in the place of one trained here.

    Args:
        path: a checkpoint of fairseq2's W2VBertModel, or a folder with config.json and model.safetensors, as
            `facebook/w2v-bert-2.0` has them.
        out: the folder of the part.
        storage: precision that its matrices are kept in.
    """
    if path.is_dir():
        trunk, weights = _hugging_face_w2v_bert(path)
    else:
        trunk, weights = _fairseq2_w2v_bert(path)
    class_path, init_args = PUBLISHED_W2V_BERT + "PublishedW2VBert", {"trunk": trunk}
    part: Any = build(class_path, init_args)
    try:
        part.trunk.load_state_dict(weights)
    except RuntimeError as error:
        reason = " ".join(str(error).split()).partition(": ")[2][:150]
        raise ValueError(f"expected the weights of a w2v-BERT at {path}, got others: {reason}") from None
    bundle = save_component(
        out, "semantic_encoder", part, class_path=class_path, init_args=init_args, storage=storage
    )
    millions = sum(parameter.numel() for parameter in part.parameters()) / 1e6
    print(
        f"w2v-BERT of {part.num_layers} layers, width {part.model_dim}, {millions:.1f}M parameters "
        f"({bundle.fingerprint()}): {bundle.path}"
    )


def _fairseq2_w2v_bert(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Words and weights of a `Fairseq2Trunk`; the sizes are those of the weights."""
    from musiclm.tokenizers.fairseq2_models import W2VBertConfig, convert_w2vbert_state_dict

    # Also of the names that fairseq, before fairseq2, gave them.
    state: dict[str, Any] = convert_w2vbert_state_dict(read_published(path), W2VBertConfig())
    weights = {
        key.removeprefix("w2v2_model."): value
        for key, value in state.items()
        if key.startswith(("w2v2_model.encoder.", "w2v2_model.encoder_frontend."))
    }
    block = "encoder.layers.0."
    try:
        words = {
            "num_layers": _num_layers(weights),
            "model_dim": len(weights[block + "layer_norm.weight"]),
            "num_heads": len(weights[block + "self_attn.sdpa.u_bias"]),
            "ffn_dim": len(weights[block + "ffn1.inner_proj.weight"]),
            "conv_kernel": weights[block + "conv.depthwise_conv.weight"].shape[-1],
            "stack": len(weights["encoder_frontend.post_extract_layer_norm.weight"]) // 80,
        }
    except KeyError as error:
        raise ValueError(
            f"expected a checkpoint of fairseq2's W2VBertModel at {path}, it has no {error}"
        ) from None
    return {"class_path": PUBLISHED_W2V_BERT + "Fairseq2Trunk", "init_args": words}, weights


def _hugging_face_w2v_bert(folder: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Words and weights of a `HuggingFaceTrunk`; the sizes are those of config.json."""
    from transformers import Wav2Vec2BertConfig

    config = Wav2Vec2BertConfig.from_dict(read_json(folder, "config.json"))
    kinds = {
        "model_type": "wav2vec2-bert",
        "position_embeddings_type": "relative_key",
        "hidden_act": "swish",
    }
    for name, kind in kinds.items():
        if getattr(config, name) != kind:
            raise ValueError(
                f"expected {name} {kind!r} in {folder}/config.json, got {getattr(config, name)!r}"
            )
    words = {
        "num_layers": config.num_hidden_layers,
        "model_dim": config.hidden_size,
        "num_heads": config.num_attention_heads,
        "ffn_dim": config.intermediate_size,
        "conv_kernel": config.conv_depthwise_kernel_size,
        "stack": config.feature_projection_input_dim // 80,
        "left_positions": config.left_max_position_embeddings,
        "right_positions": config.right_max_position_embeddings,
    }
    # A model fine-tuned for a task keeps its encoder under this name; an adapter lies above the last layer.
    state = {
        key.removeprefix("wav2vec2_bert."): value
        for key, value in read_published(folder / "model.safetensors").items()
    }
    weights = {
        key: value for key, value in state.items() if key.startswith(("feature_projection.", "encoder."))
    }
    return {"class_path": PUBLISHED_W2V_BERT + "HuggingFaceTrunk", "init_args": words}, weights


def _num_layers(weights: dict[str, Tensor]) -> int:
    prefix = "encoder.layers."
    numbers = {int(key.split(".")[2]) for key in weights if key.startswith(prefix)}
    return max(numbers, default=-1) + 1
