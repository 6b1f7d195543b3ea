"""MERT, a published self-supervised model of music, as embeddings for KAD and FAD (2306.00107).

waveform [B, 1, L] at 24 kHz -> windows of 5 s -> the mean over a window's frames of a layer -> [W, D]

The base model is a HuBERT of 24 kHz, and its published weights (`m-a-p/MERT-v1-95M`) have the names of
transformers' `HubertModel`, which is what reads them here: the folder's own code is not run.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from musiclm.extras import check_package
from musiclm.tokenizers.embedding_windows import windows_of
from musiclm.tokenizers.hub import read_json, read_weights, sizes_of

WINDOW_SECONDS = 5.0  # that it was trained on
STRIDE = 5  # windows of `windows_of`, which are a second apart: so that they do not overlap
NOT_BUILT = ("feature_extractor_cqt", "deepnorm")  # which the larger models have


class Mert(nn.Module):
    """Embeddings of every 5 s of audio.

    Args:
        config: the published config.json.
        layer: whose frames are averaged, 1 …; None takes the last.
    """

    def __init__(self, config: dict[str, Any], *, layer: int | None = None) -> None:
        check_package("transformers", "clap")
        from transformers import HubertConfig, HubertModel

        super().__init__()
        words: Any = HubertConfig.from_dict(sizes_of(config))
        layers = int(words.num_hidden_layers)
        if layer is not None and not 1 <= layer <= layers:
            raise ValueError(f"expected a layer of MERT from 1 to {layers}, got {layer}")
        self.sample_rate = int(config.get("sample_rate", 24_000))
        self.dimension = int(words.hidden_size)
        self.layer = layers if layer is None else layer
        self.hubert = HubertModel(words)

    @torch.no_grad()
    def embed_windows(self, waveform: Tensor) -> Tensor:
        """Embeddings [W, dimension] of one recording [1, 1, L]; a shorter one is repeated."""
        windows = windows_of(waveform, seconds=WINDOW_SECONDS, sample_rate=self.sample_rate)[0][::STRIDE]
        return torch.cat([self._embed(window[None]) for window in windows])

    def _embed(self, window: Tensor) -> Tensor:
        # As the published preprocessing does: mean 0 and variance 1.
        normal = functional.layer_norm(window, window.shape[1:], eps=1e-7)
        frames: Tensor = self.hubert(normal, output_hidden_states=True).hidden_states[self.layer]  # [1, T, D]
        return frames.mean(dim=1)


def read_mert(folder: Path, *, layer: int | None = None) -> Mert:
    """The model of a published folder: config.json and its weights.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is truncated, altered or another model's.
    """
    config = read_json(folder, "config.json")
    if odd := [name for name in NOT_BUILT if config.get(name)]:
        raise ValueError(
            f"expected a MERT that is a HuBERT, as MERT-v1-95M is; the one at {folder} has {odd[0]}"
        )
    if config.get("model_type") not in ("mert_model", "music_hubert", "hubert"):
        raise ValueError(
            f"expected a MERT (model_type mert_model) at {folder}, got {config.get('model_type')}"
        )
    model = Mert(config, layer=layer)
    read_weights(model.hubert, folder)
    return model.eval().requires_grad_(False)
