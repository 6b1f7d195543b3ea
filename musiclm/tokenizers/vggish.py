"""VGGish, by whose embeddings FAD was first taken: a classifier's last layer (1609.09430, 1812.08466).

waveform [B, 1, L] at 16 kHz -> log-mel [N, 96, 64] of 0.96 s each -> embeddings [N, 128]

The weights are those of a file in the published PyTorch format (vggish-10086976.pth: `features.*`, six
convolutions, and `embeddings.*`, three linear layers); the sizes are theirs. As in the FAD of its authors,
the embeddings are those before the last activation, and neither whitened nor rounded.
"""

import math
from collections import OrderedDict
from pathlib import Path

import torch
from torch import Tensor, nn

from musiclm.tokenizers.checks import check_waveform
from musiclm.tokenizers.published_weights import read_published

SAMPLE_RATE = 16_000  # Hz
WINDOW, HOP, SIZE = 400, 160, 512  # samples: of a spectrum's window, between two, and of its transform
MEL_BANDS, LOWEST, HIGHEST = 64, 125.0, 7_500.0  # Hz
OFFSET = 0.01  # of a magnitude, before the logarithm
FRAMES = 96  # of an embedding: 0.96 s
CONVOLUTIONS = (0, 3, 6, 8, 11, 13)  # places of the layers in the published stack
POOLS = (2, 5, 10, 15)
EMBEDDINGS = (0, 2, 4)
AT_ONCE = 32  # embeddings


class VGGish(nn.Module):
    """Embeddings of every 0.96 s of audio.

    Args:
        widths: channels of the six convolutions.
        linear: widths of the three linear layers; the last is the embedding's.
    """

    window: Tensor
    filters: Tensor
    sample_rate = SAMPLE_RATE

    def __init__(
        self,
        widths: tuple[int, ...] = (64, 128, 256, 256, 512, 512),
        linear: tuple[int, ...] = (4096, 4096, 128),
    ) -> None:
        super().__init__()
        self.dimension = linear[-1]
        layers: dict[int, nn.Module] = {}
        for place, own, before in zip(CONVOLUTIONS, widths, (1, *widths[:-1]), strict=True):
            layers[place] = nn.Conv2d(before, own, 3, padding=1)
            layers[place + 1] = nn.ReLU()
        layers |= {place: nn.MaxPool2d(2) for place in POOLS}
        self.features = nn.Sequential(OrderedDict((str(place), layers[place]) for place in sorted(layers)))
        inputs = widths[-1] * (FRAMES // 16) * (MEL_BANDS // 16)
        first, second, last = linear
        self.embeddings = nn.Sequential(
            nn.Linear(inputs, first), nn.ReLU(), nn.Linear(first, second), nn.ReLU(), nn.Linear(second, last)
        )
        # A Hann window that is periodic, and triangles on the mel scale without a norm, as published.
        self.register_buffer("window", torch.hann_window(WINDOW), persistent=False)
        self.register_buffer("filters", _mel_filters(), persistent=False)

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Log-mel magnitudes [T, 64] of a waveform [L]; only whole windows count."""
        frames = waveform.unfold(0, WINDOW, HOP) * self.window
        return (torch.fft.rfft(frames, SIZE).abs() @ self.filters + OFFSET).log()

    @torch.no_grad()
    def embed_windows(self, waveform: Tensor) -> Tensor:
        """Embeddings [N, dimension] of one recording [1, 1, L]; one that is too short is repeated."""
        check_waveform(waveform)
        shortest = WINDOW + (FRAMES - 1) * HOP
        samples = waveform[0, 0]
        samples = samples.repeat(math.ceil(shortest / len(samples))) if len(samples) < shortest else samples
        frames = self.log_mel(samples)
        examples = frames[: len(frames) // FRAMES * FRAMES].unflatten(0, (-1, FRAMES))  # [N, 96, 64]
        return torch.cat([self._embed(some) for some in examples.split(AT_ONCE)])

    def _embed(self, examples: Tensor) -> Tensor:
        maps = self.features(examples[:, None])  # [N, C, 6, 4]
        # The weights were learned with the channels last.
        vectors: Tensor = self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))
        return vectors


def read_vggish(file: Path) -> VGGish:
    """The model of a published file.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is truncated, altered or another model's.
    """
    state = read_published(file)
    state = {name: value for name, value in state.items() if not name.startswith("pproc.")}  # whitening
    try:
        widths = tuple(len(state[f"features.{place}.bias"]) for place in CONVOLUTIONS)
        linear = tuple(len(state[f"embeddings.{place}.bias"]) for place in EMBEDDINGS)
        model = VGGish(widths, linear)
        model.load_state_dict(state)
    except (KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())[:150]
        raise ValueError(f"expected the weights of a VGGish in {file}, got others: {reason}") from None
    return model.eval().requires_grad_(False)


def _mel_filters() -> Tensor:
    """Triangles [257, 64] with straight sides on the mel scale; the constant part counts for no band."""

    def mel(frequency: Tensor) -> Tensor:
        return 1127.0 * (1 + frequency / 700.0).log()

    bins = mel(torch.linspace(0, SAMPLE_RATE / 2, SIZE // 2 + 1, dtype=torch.float64))
    low, high = mel(torch.tensor([LOWEST, HIGHEST], dtype=torch.float64)).tolist()
    edges = torch.linspace(low, high, MEL_BANDS + 2, dtype=torch.float64)
    rising = (bins[:, None] - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - bins[:, None]) / (edges[2:] - edges[1:-1])
    filters = torch.minimum(rising, falling).clamp(min=0)
    filters[0] = 0
    return filters.float()
