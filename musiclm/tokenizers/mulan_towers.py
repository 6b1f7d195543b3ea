"""The two towers of MuLan: audio and text, each to one vector of any scale.

MuLan, sec. 3: a ResNet-50 over the log-mel spectrogram, a BERT over a subword vocabulary. Both are built here
from their sizes, from the default model's (a few hours on two cores) to the paper's. `MuLan` in mulan.py puts
the vectors on one sphere.
"""

import math
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from musiclm.tokenizers.mel import LogMel
from musiclm.tokenizers.reading import Reading, count_known, whole_words, words_of

WINDOW_SECONDS, HOP_SECONDS = 0.025, 0.010  # MuLan, sec. 4.2
UNKNOWN, PADDING, START = 0, 1, 2  # piece ids; the vocabulary is trained with them
LONGEST_PIECE = 16  # characters, sentencepiece's default


class AudioTower(nn.Module):
    """ResNet on log-mel: waveform [B, 1, L] to a vector [B, dimension].

    The spectrogram is standardised per band; a strided stem and one stage per entry of `channels` follow,
    each halving both axes. Mean and maximum over time keep what lasts and what happens now and then; the
    remaining bands are kept apart, since a bass and a flute differ in where they are.

    Args:
        dimension: of the output.
        sample_rate: Hz.
        num_mels: bands, a multiple of the total stride.
        stem_channels: width of the stem.
        channels: width of each stage (multiples of 16 are the fast ones on a CPU).
        blocks: residual blocks in each stage.
        bottleneck: blocks of 1x1, 3x3, 1x1 convolutions at a quarter of the width, as in ResNet-50.
    """

    def __init__(
        self,
        dimension: int = 128,
        sample_rate: int = 24_000,
        *,
        num_mels: int = 64,
        stem_channels: int = 16,
        channels: Sequence[int] = (32, 64, 128, 192),
        blocks: Sequence[int] = (1, 1, 1, 2),
        bottleneck: bool = False,
    ) -> None:
        super().__init__()
        if len(channels) != len(blocks):
            raise ValueError(f"expected one number of blocks per stage, got {blocks} for stages {channels}")
        stride = 2 ** (1 + len(channels))  # of the bands: 2 in the stem, 2 in every stage
        if num_mels % stride:
            raise ValueError(f"expected num_mels to be a multiple of {stride}, got {num_mels}")
        self.sample_rate = sample_rate
        self.log_mel = LogMel(
            sample_rate,
            num_mels,
            window_length=round(WINDOW_SECONDS * sample_rate),
            hop_length=round(HOP_SECONDS * sample_rate),
            fft_length=2 ** math.ceil(math.log2(WINDOW_SECONDS * sample_rate)),
        )
        self.band_norm = nn.BatchNorm1d(num_mels)
        # Four frames (40 ms) a step is fine enough for onsets and a quarter of the work.
        self.stem = nn.Sequential(
            nn.Conv2d(1, stem_channels, (5, 7), stride=(2, 4), padding=(2, 3), bias=False),
            nn.BatchNorm2d(stem_channels),
            nn.ReLU(),
        )
        stages: list[nn.Module] = []
        for stage, (inputs, outputs) in enumerate(zip((stem_channels, *channels), channels, strict=False)):
            for block in range(blocks[stage]):
                first = block == 0
                step = 2 if first else 1
                stages.append(_ResidualBlock(inputs if first else outputs, outputs, step, bottleneck))
        self.stages = nn.Sequential(*stages)
        self.projection = nn.Linear(2 * channels[-1] * (num_mels // stride), dimension)

    def forward(self, waveform: Tensor) -> Tensor:
        """Vectors [B, dimension] of waveforms [B, 1, L]."""
        mel = self.band_norm(self.log_mel(waveform))  # [B, num_mels, frames]
        x = self.stages(self.stem(mel[:, None]))  # [B, C, num_mels / stride, T]
        x = x.flatten(1, 2)  # [B, C * bands, T]
        return self.projection(torch.cat([x.mean(-1), x.amax(-1)], dim=1))


class TextTower(nn.Module):
    """Small BERT: texts to vectors [B, dimension].

    Its sentencepiece vocabulary is part of its state: `set_vocabulary` stores the serialized model. Pieces
    that never came up in the training captions count as unknown, whose meaning ("nothing in particular") is
    learned, rather than as untrained noise. Any text is accepted: bytes stand in for rare characters.

    `words` are those of the training captions. They are no part of the state, since no vector depends on
    them: a bundle keeps them beside the weights. A tower without them calls no word unknown.

    Args:
        dimension: of the output.
        width: of the layers.
        num_layers: pre-norm encoder layers.
        num_heads: attention heads.
        vocabulary_size: pieces at most, 256 of them single bytes.
        max_pieces: a longer text is cut here.
        dropout: in training only.
    """

    vocabulary: Tensor
    known: Tensor
    positions: Tensor

    def __init__(
        self,
        dimension: int = 128,
        width: int = 192,
        *,
        num_layers: int = 2,
        num_heads: int = 4,
        vocabulary_size: int = 2048,
        max_pieces: int = 128,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.vocabulary_size = vocabulary_size
        self.max_pieces = max_pieces
        self.embedding = nn.Embedding(vocabulary_size, width)
        nn.init.normal_(self.embedding.weight, std=width**-0.5)
        self.layers = nn.ModuleList(_EncoderLayer(width, num_heads, dropout) for _ in range(num_layers))
        self.norm = nn.LayerNorm(width)
        self.projection = nn.Linear(width, dimension)
        self.register_buffer("positions", _sinusoids(max_pieces, width), persistent=False)
        self.register_buffer("vocabulary", torch.zeros(0, dtype=torch.uint8))
        self.register_buffer("known", torch.zeros(vocabulary_size, dtype=torch.bool))
        self.words: frozenset[str] = frozenset()
        self._processor: Any = None

    def set_vocabulary(self, model: bytes, captions: Sequence[str]) -> None:
        """Store a serialized sentencepiece model; pieces and words that no caption has become unknown."""
        self._set_vocabulary(torch.frombuffer(bytearray(model), dtype=torch.uint8))
        if len(self.processor) > self.vocabulary_size:
            raise ValueError(f"expected at most {self.vocabulary_size} pieces, got {len(self.processor)}")
        normalised = [normalise(caption) for caption in captions]
        self.words = words_of(normalised)
        used = {piece for caption in normalised for piece in self.processor.encode(caption)}
        self.known.zero_()
        self.known[sorted(used)] = True

    @property
    def processor(self) -> Any:
        """The sentencepiece processor of the stored vocabulary."""
        if self._processor is None:
            if not len(self.vocabulary):
                raise ValueError(
                    "expected a text tower with a vocabulary, got an untrained one: fit it first"
                )
            import sentencepiece

            model = bytes(self.vocabulary.cpu().numpy())
            self._processor = sentencepiece.SentencePieceProcessor(model_proto=model)
        return self._processor

    def pieces(self, texts: Sequence[str]) -> Tensor:
        """Piece ids [B, S], each row opened by START and filled up with PADDING; S <= max_pieces."""
        rows = [[START, *self._encode(normalise(text))[: self.max_pieces - 1]] for text in texts]
        length = max(map(len, rows))
        ids = torch.tensor([row + [PADDING] * (length - len(row)) for row in rows])
        ids = ids.to(self.known.device)
        special = (ids == START) | (ids == PADDING)
        return ids.masked_fill(~self.known[ids] & ~special, UNKNOWN)

    def reading(self, text: str) -> Reading:
        """What of a text counts: words that the captions have, up to `max_pieces`."""
        text = normalise(text)
        unknown, share = count_known(text.split(), self.words) if self.words else ((), 1.0)
        ids = self._encode(text)
        if len(ids) < self.max_pieces:
            return Reading(unknown, share)
        end, left_out = whole_words(text, len(self.processor.decode(ids[: self.max_pieces - 1])))
        return Reading(unknown, share, end, left_out)

    def _encode(self, text: str) -> list[int]:
        """Piece ids of a normalised text, more than `max_pieces` only where it is longer than that."""
        return self.processor.encode(text[: LONGEST_PIECE * self.max_pieces])

    def forward(self, pieces: Tensor) -> Tensor:
        """Vectors [B, dimension] of piece ids [B, S]: the mean over the pieces that are not padding."""
        kept = pieces != PADDING  # [B, S]
        x = self.embedding(pieces) + self.positions[: pieces.shape[1]]  # [B, S, D]
        for layer in self.layers:
            x = layer(x, kept[:, None, None, :])
        x = self.norm(x) * kept[..., None]
        return self.projection(x.sum(1) / kept.sum(1, keepdim=True))

    def _set_vocabulary(self, vocabulary: Tensor) -> None:
        self.vocabulary = vocabulary.to(self.known.device)
        self._processor = None

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        stored = state_dict.get(prefix + "vocabulary")
        if stored is not None:  # its length is not known before it is read
            self._set_vocabulary(torch.empty_like(stored, device=self.known.device))
        super()._load_from_state_dict(state_dict, prefix, *args)


class _ResidualBlock(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        if bottleneck:
            inner = outputs // 4
            sizes = [(inputs, inner, 1, 1), (inner, inner, 3, stride), (inner, outputs, 1, 1)]
        else:
            sizes = [(inputs, outputs, 3, stride), (outputs, outputs, 3, 1)]
        layers: list[nn.Module] = []
        for before, after, kernel, step in sizes:
            layers += [
                nn.Conv2d(before, after, kernel, stride=step, padding=kernel // 2, bias=False),
                nn.BatchNorm2d(after),
                nn.ReLU(),
            ]
        self.body = nn.Sequential(*layers[:-1])
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                nn.AvgPool2d(stride, ceil_mode=True) if stride > 1 else nn.Identity(),
                nn.Conv2d(inputs, outputs, 1, bias=False),
                nn.BatchNorm2d(outputs),
            )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(self.body(x) + self.shortcut(x))


class _EncoderLayer(nn.Module):
    def __init__(self, width: int, num_heads: int, dropout: float) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.dropout = nn.Dropout(dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """[B, S, D] -> [B, S, D]; mask [B, 1, 1, S] is true where a piece may be looked at."""
        q, k, v = self.qkv(self.attention_norm(x)).unflatten(-1, (3, self.num_heads, -1)).unbind(2)
        attended = functional.scaled_dot_product_attention(
            q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2), attn_mask=mask
        )  # [B, H, S, D / H]
        x = x + self.dropout(self.out(attended.transpose(1, 2).flatten(2)))
        return x + self.dropout(self.feed_forward(x))


def normalise(text: str) -> str:
    """Lower case, punctuation and control characters to single spaces; letters, digits and symbols stay."""
    text = unicodedata.normalize("NFKC", text[:100_000]).casefold()
    kept = [" " if unicodedata.category(character)[0] in "PZC" else character for character in text]
    return " ".join("".join(kept).split())


def _sinusoids(length: int, width: int) -> Tensor:
    """Sinusoidal positions [length, width], as loud as the piece embeddings at their start."""
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000.0) / width))
    angle = torch.arange(length)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1) * width**-0.5
