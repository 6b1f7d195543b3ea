"""The melody embedding: a tune as one point, whatever plays, whistles or hums it (MusicLM, appendix C).

waveform [1, 1, L] -> windows of 4 s every 3 s -> bands [W, F, T] -> tokens [W, S, D] -> [W, 192], unit length

A small vision transformer over the spectrogram, as in the paper, trained by triplets (`training/melody.py`).
The paper gives no settings of its mel frames. Mel bands are wider than a semitone where voices hum, so these
are a third of one each, over six octaves; a transposed tune is the same picture moved up or down.
What is said must also say when: each token keeps a place of its own in what the last layer sees.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from musiclm.tokenizers.checks import check_waveform

WINDOW_SECONDS = 4.0  # MusicLM, appendix C
HOP_SECONDS = 3.0  # MusicLM, appendix C
BANDS_PER_SEMITONE = 3
LOWEST_PITCH, SEMITONES = 36, 72  # C2, 65 Hz, to C8, 4.2 kHz
FFT_SECONDS = 4096 / 24_000  # 171 ms: tells neighbouring semitones apart from 100 Hz on by two partials
FLOOR = 1e-4  # of the mean energy: what lies 40 dB under it counts as nothing
WINDOWS_AT_ONCE = 16  # bounds memory on long recordings


class MelodyEmbedding(nn.Module):
    """Windows of sound to points that lie near each other where the tune is the same.

    Pitch classes are kept, octaves forgiven, and so is a tuning that is off by up to half a semitone.

    Args:
        dimension: of the embeddings.
        sample_rate: Hz.
        width: of the layers.
        num_layers: pre-norm encoder layers.
        num_heads: attention heads.
        head_size: of each; width / num_heads by default.
        feed_forward: width inside the feed-forward part.
        frames_per_token: frames of 43 ms that are one token.
        place_width: numbers that each token contributes to the embedding.
    """

    training_state: tuple[str, ...] = ()
    filters: Tensor
    window: Tensor

    def __init__(
        self,
        dimension: int = 192,
        sample_rate: int = 24_000,
        *,
        width: int = 192,
        num_layers: int = 4,
        num_heads: int = 4,
        head_size: int | None = None,
        feed_forward: int = 512,
        frames_per_token: int = 2,
        place_width: int = 16,
    ) -> None:
        super().__init__()
        if head_size is None and width % num_heads:
            raise ValueError(
                f"expected a width that {num_heads} heads divide, got {width}: or give a head_size"
            )
        self.dimension = dimension
        self.sample_rate = sample_rate  # Hz
        self.window_length = round(WINDOW_SECONDS * sample_rate)  # samples
        self.fft_length = round(FFT_SECONDS * sample_rate)
        self.hop_length = self.fft_length // 4
        self.frames_per_token = frames_per_token
        self.num_tokens = (self.window_length // self.hop_length + 1) // frames_per_token
        filters = pitch_filters(self.fft_length // 2 + 1, sample_rate)
        used = int(filters.any(dim=1).nonzero().max()) + 1  # the bins above would take two thirds of the time
        self.register_buffer("filters", filters[:used].clone(), persistent=False)  # [bins, F]
        self.register_buffer("window", torch.hann_window(self.fft_length), persistent=False)

        self.patches = nn.Linear(frames_per_token * filters.shape[1], width)
        self.positions = nn.Parameter(0.02 * torch.randn(self.num_tokens, width))
        size = width // num_heads if head_size is None else head_size
        self.layers = nn.ModuleList(
            _EncoderLayer(width, num_heads, size, feed_forward) for _ in range(num_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.place = nn.Linear(width, place_width)
        self.projection = nn.Linear(self.num_tokens * place_width, dimension)

    def bands(self, waveform: Tensor) -> Tensor:
        """Energy [B, F, T] in bands of a third of a semitone of windows [B, 1, window_length]."""
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = torch.stft(
                waveform.flatten(1).float(),
                self.fft_length,
                self.hop_length,
                window=self.window,
                center=True,
                pad_mode="constant",
                return_complex=True,
            )[:, : len(self.filters)]  # [B, bins, T]
            energy = spectrum.real.square() + spectrum.imag.square()
            return torch.einsum("bft,fm->bmt", energy, self.filters)

    def tokens(self, bands: Tensor) -> Tensor:
        """What the last layer makes [B, S, width] of `bands`; token i of S = num_tokens is the i-th part."""
        count = self.num_tokens * self.frames_per_token
        x = _normalised(bands)[..., :count].transpose(1, 2)  # [B, T, F]
        x = self.patches(x.reshape(len(x), self.num_tokens, -1)) + self.positions  # [B, S, width]
        for layer in self.layers:
            x = layer(x)
        return self.norm(x)

    def pool(self, tokens: Tensor) -> Tensor:
        """Embeddings [B, dimension] on the unit sphere of tokens [B, S, width]."""
        vectors = self.projection(self.place(tokens).flatten(1))  # [B, dimension]
        return functional.normalize(vectors.float(), dim=-1)

    def forward(self, waveform: Tensor) -> Tensor:
        """Embeddings [B, dimension] on the unit sphere of windows [B, 1, window_length]."""
        return self.pool(self.tokens(self.bands(waveform)))

    @torch.no_grad()
    def embed_windows(self, waveform: Tensor, *, hop_seconds: float = HOP_SECONDS) -> Tensor:
        """Embeddings [W, dimension] of one recording [1, 1, L], window i beginning at i * hop_seconds.

        W = max(1, ceil(seconds / hop_seconds)); what is missing at the end is silence.

        Raises:
            ValueError: not one mono recording of finite samples, or no hop.
        """
        check_waveform(waveform)
        if waveform.shape[0] != 1:
            raise ValueError(f"expected one recording [1, 1, L], got {list(waveform.shape)}")
        hop = round(hop_seconds * self.sample_rate)
        if hop < 1:
            raise ValueError(f"expected hop_seconds above 0, got {hop_seconds}")
        count = max(1, math.ceil(waveform.shape[2] / hop))
        missing = (count - 1) * hop + self.window_length - waveform.shape[2]
        windows = functional.pad(waveform[0, 0], (0, max(missing, 0))).unfold(0, self.window_length, hop)
        parts = windows[:count].split(WINDOWS_AT_ONCE)  # [W, window_length]
        return torch.cat([self(part[:, None]) for part in parts])


def pitch_filters(num_bins: int, sample_rate: int) -> Tensor:
    """Triangular filters [num_bins, F] of `num_bins` Fourier bins of 0 … sample_rate / 2 Hz, F = 216.

    Band i is centred on MIDI pitch LOWEST_PITCH + i / 3. No band is narrower than the bins, where it would
    come to lie between two of them.
    """
    bins = torch.linspace(0, sample_rate / 2, num_bins, dtype=torch.float64)  # Hz
    pitches = LOWEST_PITCH + torch.arange(SEMITONES * BANDS_PER_SEMITONE, dtype=torch.float64) / (
        BANDS_PER_SEMITONE
    )
    centres = 440 * 2 ** ((pitches - 69) / 12)  # Hz
    widths = (centres * (2 ** (1 / (12 * BANDS_PER_SEMITONE)) - 1)).clamp(min=float(bins[1]))
    return (1 - (bins[:, None] - centres).abs() / widths).clamp(min=0).float()


def _normalised(bands: Tensor) -> Tensor:
    """Logarithm of the energy [B, F, T], mean 0 and variance 1 in each window: loudness leaves no trace."""
    with torch.autocast(bands.device.type, enabled=False):
        level = bands.mean(dim=(1, 2), keepdim=True).clamp(min=1e-8)  # silence has none
        x = (bands / level).clamp(min=FLOOR).log()
        x = x - x.mean(dim=(1, 2), keepdim=True)
        return x / x.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp(min=1e-3)


class _EncoderLayer(nn.Module):
    """Pre-norm attention and feed-forward; the heads may be wider or narrower than width / num_heads."""

    def __init__(self, width: int, num_heads: int, head_size: int, feed_forward: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.attention_norm = nn.LayerNorm(width)
        self.queries_keys_values = nn.Linear(width, 3 * num_heads * head_size)
        self.output = nn.Linear(num_heads * head_size, width)
        self.feed_forward = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, feed_forward), nn.GELU(), nn.Linear(feed_forward, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """[B, S, width] to the same."""
        inner = self.queries_keys_values(self.attention_norm(x))  # [B, S, 3 * H * head_size]
        query, key, value = inner.unflatten(2, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        attended = functional.scaled_dot_product_attention(query, key, value)  # [B, H, S, head_size]
        x = x + self.output(attended.transpose(1, 2).flatten(2))
        return x + self.feed_forward(x)
