"""LAION-CLAP in MuLan's place: published text and audio towers behind the same interface (2211.06687).

waveform [B, 1, L] at 24 kHz -> embed_audio -> [B, 512];  list of str -> embed_text -> [B, 512]

The towers are those of transformers' `ClapModel` (audio: HTSAT on a 64-band log-mel of 10 s at 48 kHz; text:
RoBERTa); resampling and the log-mel are done here, in torch. `read_clap` takes a folder as published
(`laion/larger_clap_music`, `laion/clap-htsat-unfused`): config.json, preprocessor_config.json, weights and
the tokenizer's files.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from musiclm.extras import check_package
from musiclm.tokenizers.embedding_windows import WindowEmbedding
from musiclm.tokenizers.hub import PublishedVocabulary, read_json, read_weights, sizes_of
from musiclm.tokenizers.reading import Reading

FLOOR = 1e-10  # of the mel energies before the logarithm, as published


class Clap(WindowEmbedding):
    """Joint embedding of audio and text by a published CLAP.

    Every window of audio is full, so the branch that fuses crops of longer audio is never taken. Audio
    shorter than a window is repeated until it fills one, where the published preprocessing leaves the rest
    after the last whole repetition silent.

    Args:
        config: the published config.json.
        features: the published preprocessor_config.json.
        sample_rate: Hz of the waveforms it takes; they are resampled to those of the model.
    """

    training_state: tuple[str, ...] = ()
    filters: Tensor
    hann: Tensor

    def __init__(
        self, config: dict[str, Any], features: dict[str, Any], *, sample_rate: int = 24_000
    ) -> None:
        check_package("transformers", "clap")
        from transformers import ClapConfig, ClapFeatureExtractor, ClapModel

        super().__init__()
        # The package types these as what they may be, not as they are.
        words: Any = ClapConfig.from_dict(sizes_of(config))
        extractor: Any = ClapFeatureExtractor.from_dict(sizes_of(features))
        self.sample_rate = sample_rate
        self.model_rate = int(extractor.sampling_rate)  # Hz
        self.window_seconds = float(extractor.max_length_s)
        self.dimension = int(words.projection_dim)
        self.hop_length = int(extractor.hop_length)
        # As published, models that fuse crops take HTK filters and every window four times.
        self.fused = bool(words.audio_config.enable_fusion)
        filters = extractor.mel_filters if extractor.truncation == "fusion" else extractor.mel_filters_slaney
        self.register_buffer("filters", torch.from_numpy(filters).float(), persistent=False)  # [bins, mels]
        self.register_buffer("hann", torch.hann_window(extractor.fft_window_size), persistent=False)
        # RoBERTa counts positions from the one after the padding's id.
        padding = int(words.text_config.pad_token_id)
        self.vocabulary = PublishedVocabulary(
            words.text_config.max_position_embeddings - padding - 1, padding
        )
        self.clap = ClapModel(words)

    def reading(self, text: str) -> Reading:
        """What of a description counts."""
        return self.vocabulary.reading(text)

    @torch.no_grad()
    def embed_text(self, texts: list[str]) -> Tensor:
        """Embeddings [B, dimension] of descriptions of any length (cut where the model's positions end)."""
        if not texts:
            return torch.zeros(0, self.dimension, device=self.hann.device)
        ids, mask = self.vocabulary(texts)
        vectors = self.clap.text_model(input_ids=ids, attention_mask=mask).pooler_output
        return functional.normalize(self.clap.text_projection(vectors).float(), dim=-1)

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Decibels [N, T, mels] of waveforms [N, L] at the model's rate, T = L // hop_length + 1."""
        spectrum = torch.stft(
            waveform,
            len(self.hann),
            self.hop_length,
            window=self.hann,
            center=True,
            pad_mode="reflect",
            return_complex=True,
        )  # [N, bins, T]
        energy = spectrum.real.square() + spectrum.imag.square()
        return 10 * (energy.transpose(1, 2) @ self.filters).clamp(min=FLOOR).log10()

    def _embed(self, windows: Tensor) -> Tensor:
        """Embeddings [N, dimension] of windows [N, 1, L] at `sample_rate`."""
        from torchaudio.functional import resample

        sound = resample(windows[:, 0], self.sample_rate, self.model_rate)
        mel = self.log_mel(sound)[:, None]  # [N, 1, T, mels]
        if self.fused:
            mel = mel.expand(-1, 4, -1, -1)
        longer = torch.zeros(len(mel), 1, dtype=torch.bool, device=mel.device)
        vectors = self.clap.audio_model(input_features=mel, is_longer=longer).pooler_output
        return functional.normalize(self.clap.audio_projection(vectors).float(), dim=-1)


def read_clap(folder: Path) -> tuple[Clap, dict[str, Any]]:
    """The part of a published folder, and the words that build it.

    Raises:
        FileNotFoundError: the folder is none of a published CLAP.
        ValueError: transformers is absent, the folder is another model's, or a file is truncated or altered.
    """
    check_package("transformers", "clap")
    config, features = read_json(folder, "config.json"), read_json(folder, "preprocessor_config.json")
    if config.get("model_type") != "clap":
        raise ValueError(
            f"expected a CLAP (model_type clap) at {folder}, got {config.get('model_type')}: name another"
        )
    words = {"config": config, "features": features}
    part = Clap(config, features)
    part.vocabulary.read(folder)
    read_weights(part.clap, folder)
    return part.eval().requires_grad_(False), words
