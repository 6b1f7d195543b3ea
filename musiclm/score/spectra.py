"""What a listener reads: the logarithm of a spectrum whose bands lie evenly in pitch.

Notes need long windows, which tell low pitches apart, and beats need short ones, which say when; so a
listener has one of each.
"""

import torch
from torch import Tensor, nn

GAIN = 1000.0  # a sine of this fraction of full scale lies where the logarithm begins to bend


class LogSpectrum(nn.Module):
    """Levels of bands, `bands_per_octave` of them to an octave.

    Args:
        sample_rate: Hz.
        window: samples of a spectrum.
        hop_length: samples from one spectrum to the next; the n-th is centred at the sample n * hop_length.
        lowest: Hz, the middle of the lowest band.
        octaves: of bands.
        bands_per_octave: of them.
    """

    filters: Tensor
    shape: Tensor

    def __init__(
        self,
        *,
        sample_rate: int,
        window: int,
        hop_length: int,
        lowest: float,
        octaves: int,
        bands_per_octave: int,
    ) -> None:
        super().__init__()
        self.window = window
        self.hop_length = hop_length
        middles = lowest * 2 ** (torch.arange(octaves * bands_per_octave) / bands_per_octave)
        filters = log_filters(middles, bands_per_octave, sample_rate=sample_rate, window=window)
        self.bins = int((filters.amax(dim=0) > 0).nonzero().max()) + 1  # above them nothing is heard
        self.register_buffer("filters", filters[:, : self.bins].contiguous(), persistent=False)
        shape = torch.hann_window(window)
        self.register_buffer("shape", shape * 2 / shape.sum(), persistent=False)  # a sine has its amplitude

    def forward(self, waveform: Tensor) -> Tensor:
        """Levels [B, bands, L / hop_length] of waveforms [B, L], L a multiple of the hop."""
        spectrum = torch.stft(
            waveform,
            self.window,
            self.hop_length,
            window=self.shape,
            pad_mode="constant",
            return_complex=True,
        )  # [B, bins, L / hop_length + 1]
        parts = torch.view_as_real(spectrum[:, : self.bins, :-1])  # [B, bins, L / hop_length, 2]
        magnitudes = (parts.square().sum(dim=3) + 1e-20).sqrt()
        levels: Tensor = self.filters @ magnitudes  # [B, bands, L / hop_length]
        return torch.log1p(GAIN * levels)


def log_filters(middles: Tensor, bands_per_octave: int, *, sample_rate: int, window: int) -> Tensor:
    """Triangles [bands, window / 2 + 1] around frequencies (Hz), to the next middle, at least a bin."""
    width = sample_rate / window  # Hz, of a bin
    bins = torch.arange(window // 2 + 1) * width
    reach = (middles * (2 ** (1 / bands_per_octave) - 1)).clamp(min=width)
    filters = (1 - (bins - middles[:, None]).abs() / reach[:, None]).clamp(min=0)
    return filters / filters.sum(dim=1, keepdim=True)
