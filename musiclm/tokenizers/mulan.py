"""MuLan: music and its description as points on one sphere (MuLan, 2208.12415; MusicLM, sec. 3.1).

    waveform [B, 1, L] -> embed_audio -> [B, 128]
    list of str        -> embed_text  -> [B, 128]

MusicLM's stages train on tokens of audio embeddings and generate from tokens of text embeddings, so the two
must lie in the same places. A contrastive loss alone leaves them in two separate cones (the "modality gap").
Each tower therefore ends in a batch normalisation without scale or shift: both modalities get mean 0 and
variance 1 in every dimension, in training by the batch's statistics, afterwards by the running ones.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from musiclm.tokenizers.embedding_windows import WindowEmbedding
from musiclm.tokenizers.gather import rows_from_all_devices
from musiclm.tokenizers.mulan_towers import AudioTower, TextTower
from musiclm.tokenizers.reading import Reading


class MuLan(WindowEmbedding):
    """Joint embedding of audio and text.

    Audio shorter than a window is repeated until it fills one; longer audio is the average over windows at a
    stride of one second, put back on the sphere.

    Args:
        audio: waveform [B, 1, L] to [B, dimension].
        text: piece ids [B, S] to [B, dimension], with the vocabulary.
        dimension: of the embeddings; both towers must have it.
        window_seconds: length of audio that one embedding sees.
    """

    training_state: tuple[str, ...] = ()

    def __init__(
        self, audio: AudioTower, text: TextTower, *, dimension: int = 128, window_seconds: float = 10.0
    ) -> None:
        super().__init__()
        for name, tower in (("audio", audio), ("text", text)):
            if tower.projection.out_features != dimension:
                raise ValueError(
                    f"expected an {name} tower of dimension {dimension}, got {tower.projection.out_features}"
                )
        self.audio = audio
        self.text = text
        self.dimension = dimension
        self.window_seconds = window_seconds
        self.sample_rate = audio.sample_rate  # Hz
        self.audio_norm = nn.BatchNorm1d(dimension, affine=False)
        self.text_norm = nn.BatchNorm1d(dimension, affine=False)

    @property
    def window_length(self) -> int:
        """Samples that one embedding sees."""
        return round(self.window_seconds * self.sample_rate)

    def forward(self, waveform: Tensor, pieces: Tensor) -> tuple[Tensor, Tensor]:
        """With gradients: embeddings of windows [B, 1, window_length] and of piece ids [N, S].

        Of several devices, each gets those of all: the last normalisation, like the loss, is over all.
        """
        audio = self.audio_norm(rows_from_all_devices(self.audio(waveform).float()))
        text = self.text_norm(rows_from_all_devices(self.text(pieces).float()))
        return functional.normalize(audio, dim=-1), functional.normalize(text, dim=-1)

    @property
    def words(self) -> frozenset[str]:
        """The words of the training captions, which a bundle keeps beside the weights; none if not known."""
        return self.text.words

    @words.setter
    def words(self, words: frozenset[str]) -> None:
        self.text.words = words

    def reading(self, text: str) -> Reading:
        """What of a description counts."""
        return self.text.reading(text)

    @torch.no_grad()
    def embed_text(self, texts: list[str]) -> Tensor:
        """Embeddings [B, dimension] of descriptions of any length (cut after the tower's `max_pieces`)."""
        if not texts:
            return torch.zeros(0, self.dimension, device=self.text.known.device)
        text = self.text_norm(self.text(self.text.pieces(texts)).float())
        return functional.normalize(text, dim=-1)

    def _embed(self, windows: Tensor) -> Tensor:
        """Embeddings [N, dimension] of windows [N, 1, window_length]."""
        return functional.normalize(self.audio_norm(self.audio(windows).float()), dim=-1)
