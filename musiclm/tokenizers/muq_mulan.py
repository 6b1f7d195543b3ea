"""MuQ-MuLan in MuLan's place: published towers for music and text behind the same interface (2501.01108).

waveform [B, 1, L] at 24 kHz -> embed_audio -> [B, 512];  list of str -> embed_text -> [B, 512]

The towers are those of the package `muq` (music: MuQ, a conformer on log-mel; text: XLM-RoBERTa; layers on
top of each). The package's own class fetches both from the network before it reads its weights; here they are
built from their words alone, and filled with the weights of the one published file, which has all of them.
`read_muq_mulan` takes three folders as published: `OpenMuQ/MuQ-MuLan-large`, and for their words and the text
tokenizer `OpenMuQ/MuQ-large-msd-iter` and `xlm-roberta-base`.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from musiclm.extras import check_package
from musiclm.tokenizers.embedding_windows import WindowEmbedding
from musiclm.tokenizers.hub import PublishedVocabulary, read_json, read_weights, sizes_of
from musiclm.tokenizers.reading import Reading


class MuQMuLan(WindowEmbedding):
    """Joint embedding of audio and text by a published MuQ-MuLan.

    Args:
        config: the published config.json.
        music: that of the MuQ it is built on.
        text: that of the XLM-RoBERTa it is built on.
    """

    training_state: tuple[str, ...] = ()

    def __init__(self, config: dict[str, Any], music: dict[str, Any], text: dict[str, Any]) -> None:
        check_package("muq")
        super().__init__()
        self.sample_rate = int(config["mulan"]["sr"])
        self.window_seconds = float(config["mulan"]["clip_secs"])
        self.dimension = int(config["mulan"]["dim_latent"])
        # RoBERTa counts positions from the one after the padding's id.
        padding = int(text["pad_token_id"])
        self.vocabulary = PublishedVocabulary(int(text["max_position_embeddings"]) - padding - 1, padding)
        self.mulan = _build(config, music, text)
        self.mulan.text._tokenizer = self._pieces

    def reading(self, text: str) -> Reading:
        """What of a description counts."""
        return self.vocabulary.reading(text)

    @torch.no_grad()
    def embed_text(self, texts: list[str]) -> Tensor:
        """Embeddings [B, dimension] of descriptions of any length (cut where the model's positions end)."""
        if not texts:
            return torch.zeros(0, self.dimension, device=self.vocabulary.content.device)
        # One by one: the published tower averages over padding too, so a vector would depend on the others.
        vectors = torch.cat([self.mulan.get_text_latents(raw_texts=[text]) for text in texts])
        return functional.normalize(vectors.float(), dim=-1)

    def _embed(self, windows: Tensor) -> Tensor:
        """Embeddings [N, dimension] of windows [N, 1, L]."""
        return functional.normalize(self.mulan.get_audio_latents(windows[:, 0]).float(), dim=-1)

    def _pieces(self, texts: list[str], **_: Any) -> Any:
        """What the published text tower expects of its tokenizer."""
        from transformers import BatchEncoding

        ids, mask = self.vocabulary(texts)
        return BatchEncoding({"input_ids": ids, "attention_mask": mask})


def read_muq_mulan(folder: Path, *, music: Path, text: Path) -> tuple[MuQMuLan, dict[str, Any]]:
    """The part of published folders, and the words that build it.

    Args:
        folder: of MuQ-MuLan.
        music: of the MuQ it is built on; only its config.json is read.
        text: of the XLM-RoBERTa it is built on; only its config.json and tokenizer are read.

    Raises:
        FileNotFoundError: a folder is none of a published model.
        ValueError: the package muq is absent, or a file is truncated, altered or another model's.
    """
    check_package("muq")
    words = {"config": read_json(folder, "config.json")}
    words |= {"music": read_json(music, "config.json"), "text": read_json(text, "config.json")}
    expected = (("config", "mulan", folder), ("music", "w2v2_config", music), ("text", "pad_token_id", text))
    for name, key, place in expected:
        if key not in words[name]:
            raise ValueError(
                f"expected the words of a published {_WHAT[name]} at {place}, they have no {key!r}"
            )
    part = MuQMuLan(**words)
    part.vocabulary.read(text)
    read_weights(nn.ModuleDict({"mulan": part.mulan}), folder)
    return part.eval().requires_grad_(False), words


_WHAT = {"config": "MuQ-MuLan", "music": "MuQ", "text": "XLM-RoBERTa"}


def _build(config: dict[str, Any], music: dict[str, Any], text: dict[str, Any]) -> Any:
    """The package's joint model, as its own `create_MuLan_from_config` builds it, with nothing fetched."""
    from muq import MuQ
    from muq.muq_mulan.models.audio import AudioSpectrogramTransformerPretrained
    from muq.muq_mulan.models.mulan import MuLanModel
    from muq.muq_mulan.models.text import TextTransformerPretrained
    from transformers import XLMRobertaConfig, XLMRobertaModel

    # What only its training needs would read a checkpoint by path, fetch a codec or import another conformer.
    own = sizes_of(music) | {"rvq_ckpt_path": None, "use_encodec_target": False, "is_flash": False}

    class MusicTower(AudioSpectrogramTransformerPretrained):
        def _init_pretrained_model(self, model_name: str) -> None:
            self.model = MuQ(own)

    class TextTower(TextTransformerPretrained):
        def _init_pretrained_model(self) -> nn.Module:
            return XLMRobertaModel(XLMRobertaConfig.from_dict(sizes_of(text)))

    audio_model, text_model = config["audio_model"], config["text_model"]
    return MuLanModel(
        audio_transformer=MusicTower(
            model_name=audio_model["name"],
            model_dim=audio_model["model_dim"],
            use_layer_idx=audio_model["use_layer_idx"],
            frozen_pretrained=False,
            **config["audio_transformer"],
        ),
        text_transformer=TextTower(
            model_name=text_model["name"],
            model_dim=text_model["model_dim"],
            frozen_pretrained=False,
            **config["text_transformer"],
        ),
        **config["mulan"],
    )
