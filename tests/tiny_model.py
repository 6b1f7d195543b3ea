"""Maker of a whole tiny model, untrained, with windows so short that a few seconds have many of them."""

from pathlib import Path
from typing import Any

import torch
from torch import nn

from musiclm.bundle import build, merge, save_component
from musiclm.bundle.component import DECODERS
from musiclm.diffusion.denoiser import Denoiser
from musiclm.score.codes import STREAMS as SCORE_STREAMS
from musiclm.tokenizers.mulan import MuLan
from musiclm.training.mulan import train_vocabulary

PROMPT = "a calm violin melody"
OTHER = "fast techno with drums"
SETTINGS: dict[str, dict[str, Any]] = {
    "semantic_stage": {"window": 2.0, "stride": 1.0, "guidance": 2.0},
    "coarse_stage": {"window": 1.0, "carry": 0.4},
    "fine_stage": {"window": 0.3},
    "codec": {"context": 4},
}
SMALL = {"width": 16, "layers": 1, "heads": 2, "feed_forward": 24, "dropout": 0.0}
STREAMS = [
    {"name": "mulan", "levels": 2, "size": 8, "rate": 0.0},
    {"name": "semantic", "levels": 1, "size": 8, "rate": 25.0},
    {"name": "acoustic", "levels": 3, "size": 8, "rate": 50.0},
]
TRUNK = {"dimension": 6, "width": 16, "hidden": 24, "depth": 1}


def words_of(class_path: str, **init_args: Any) -> dict[str, Any]:
    return {"class_path": f"musiclm.{class_path}", "init_args": init_args}


PARTS = {
    "codec": words_of(
        "tokenizers.soundstream.SoundStream",
        encoder=words_of("tokenizers.convnext.ConvNeXtEncoder", **TRUNK),
        decoder=words_of("tokenizers.convnext.ConvNeXtDecoder", **TRUNK),
        dimension=6,
        num_quantizers=3,
        codebook_size=8,
    ),
    "semantic_encoder": words_of(
        "tokenizers.w2v_bert.W2VBert",
        num_layers=2,
        model_dim=16,
        num_heads=2,
        ffn_dim=16,
        conv_kernel=3,
        num_bert_layers=1,
        num_mels=16,
        num_codebook_entries=8,
        final_dim=8,
        window_seconds=1.0,
        overlap_seconds=0.2,
    ),
    "semantic_quantizer": words_of("tokenizers.kmeans.KMeans", num_centroids=8, dimension=16, layer=1),
    "joint_embedding": words_of(
        "tokenizers.mulan.MuLan",
        audio=words_of(
            "tokenizers.mulan_towers.AudioTower",
            dimension=8,
            num_mels=16,
            stem_channels=4,
            channels=[4, 8],
            blocks=[1, 1],
        ),
        text=words_of(
            "tokenizers.mulan_towers.TextTower",
            dimension=8,
            width=16,
            num_layers=1,
            num_heads=2,
            vocabulary_size=384,
        ),
        dimension=8,
        window_seconds=1.0,
    ),
    "joint_quantizer": words_of(
        "tokenizers.rvq.ResidualQuantizer", dimension=8, num_quantizers=2, codebook_size=8
    ),
    "semantic_stage": words_of(
        "stages.semantic.Semantic", transformer=SMALL, pattern="delay", streams=STREAMS,
    ),
    "coarse_stage": words_of(
        "stages.coarse.Coarse",
        transformer=SMALL, pattern="delay", lookahead=2, num_coarse=2, streams=STREAMS,
    ),
    "fine_stage": words_of(
        "stages.fine.Fine",
        transformer=SMALL, pattern="delay", lookahead=2, num_coarse=2, streams=STREAMS,
    ),
}  # fmt: skip


# What a model that follows melodies has beside and instead: windows are longer than a melody's hop of 3 s.
MELODY_SETTINGS: dict[str, dict[str, Any]] = {
    "semantic_stage": {"window": 5.0, "stride": 3.0, "guidance": 2.0},
    "coarse_stage": {"window": 5.0, "carry": 1.0},
    "denoiser": {"window": 5.0, "carry": 1.0, "steps": 3},
}
MELODY_STREAMS = [*STREAMS, {"name": "melody", "levels": 2, "size": 8, "rate": 1 / 3}]
KNOWN = {"streams": MELODY_STREAMS, "unfolded_width": 4}
MELODY_PARTS = {
    "melody_embedding": words_of(
        "tokenizers.melody.MelodyEmbedding",
        dimension=8, width=16, num_layers=1, num_heads=2, feed_forward=16, place_width=2,
    ),
    "melody_quantizer": words_of(
        "tokenizers.rvq.ResidualQuantizer", dimension=8, num_quantizers=2, codebook_size=8
    ),
    **{
        name: {**PARTS[name], "init_args": PARTS[name]["init_args"] | KNOWN}
        for name in ("semantic_stage", "coarse_stage")
    },
}  # fmt: skip


# What a model that follows a score has beside and instead.
SCORE_PARTS = {
    "semantic_stage": {
        **PARTS["semantic_stage"],
        "init_args": PARTS["semantic_stage"]["init_args"]
        | {"streams": [*STREAMS, *(stream.words() for stream in SCORE_STREAMS)]},
    },
    "planner": words_of("score.planner.Planner", dimension=8, width=16, layers=1, heads=2, buckets=64),
    "score_listener": words_of(
        "score.listener.ScoreListener", channels=2, harmony=4, harmony_layers=1, width=4, layers=1
    ),
}


# What a model that makes sound by diffusion has instead of its coarse and fine stages.
DIFFUSION_PARTS = {
    "autoencoder": words_of("tokenizers.codec_latents.CodecLatents", codec_dimension=6, dimension=4),
    "denoiser": words_of(
        "diffusion.transformer.DiffusionTransformer",
        dimension=4, width=16, layers=1, heads=2, feed_forward=24, embedding_width=8, streams=STREAMS,
    ),
}  # fmt: skip
MELODY_DIFFUSION = {
    "denoiser": {
        **DIFFUSION_PARTS["denoiser"],
        "init_args": DIFFUSION_PARTS["denoiser"]["init_args"] | KNOWN,
    },
}
DIFFUSION_SETTINGS: dict[str, dict[str, Any]] = {
    "denoiser": {"window": 1.0, "carry": 0.4, "steps": 3, "guidance_by": {"mulan": 2.0}},
    "autoencoder": {"context": 4},
}


def make_bundle(
    folder: Path,
    *,
    melody: bool = False,
    score: bool = False,
    diffusion: bool = False,
    tokens: bool | None = None,
) -> Path:
    """A bundle of every part, with random weights; its decoder is that of tokens, unless told."""
    tokens = not diffusion if tokens is None else tokens
    torch.manual_seed(0)
    sources = []
    parts = PARTS | (MELODY_PARTS if melody else {}) | (SCORE_PARTS if score else {})
    if not tokens:
        parts = {name: part for name, part in parts.items() if name not in DECODERS["tokens"]}
    if diffusion:
        parts |= DIFFUSION_PARTS | (MELODY_DIFFUSION if melody else {})
    for name, words in parts.items():
        part = build(**words)
        _randomise(part)
        sources.append(save_component(folder / "parts" / name, name, part, storage="float32", **words))
    settings = SETTINGS | DIFFUSION_SETTINGS | (MELODY_SETTINGS if melody else {})
    settings = {role: values for role, values in settings.items() if role in parts}
    return merge(sources, folder / "bundle", settings).path


def _randomise(part: nn.Module) -> None:
    """Weights as far apart as trained ones: conditions are to make a difference."""
    if isinstance(part, MuLan):
        captions = [PROMPT, OTHER, "a b c d e f g h i j k l m n o p q r s t u v w x y z"]
        part.text.set_vocabulary(train_vocabulary(captions, 384), captions)
        return
    for name, value in part.state_dict().items():
        if name.endswith(("codebooks", "centroids")):
            value.normal_()
    if hasattr(part, "transformer") or isinstance(part, Denoiser):
        with torch.no_grad():
            for parameter in part.parameters():
                parameter.add_(0.2 * torch.randn_like(parameter))
