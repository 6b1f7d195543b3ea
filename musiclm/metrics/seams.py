"""Are the places heard where windows meet? Flux and level there, beside the same inside windows.

Spectral flux, the rise of a spectrum from one moment to the next, shows a click or another timbre; the level
of the 50 ms before and after shows a step in loudness. Music has both by itself, so what counts is whether
borders stay within the range of everywhere else, and whether they lean to one end of it.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

HOP_SECONDS = 0.01
WINDOW = 1024  # samples of a spectrum
LEVEL_SECONDS = 0.05
QUIET = 10 ** (-50 / 20)  # of full scale: below, differences of level are not heard beside the music
NEAR_SECONDS = 0.02  # on either side of a border that count as it
CLEAR_SECONDS = 0.1  # from a border that the inside of a window begins


class Measured(NamedTuple):
    """A measure at each border [N], and at every moment inside windows [M]."""

    borders: Tensor
    inside: Tensor

    @property
    def beyond(self) -> float:
        """Share of borders that exceed everything inside; one in a thousand would by chance."""
        return float((self.borders > self.inside.max()).float().mean())

    @property
    def rank(self) -> float:
        """Share of the moments inside that a border exceeds, on average: 0.5 where it is like any other."""
        return float((self.borders[:, None] > self.inside).float().mean())


def seams(waveform: Tensor, borders: Sequence[float], *, sample_rate: int) -> dict[str, Measured]:
    """Spectral `flux` and `level` difference (dB) of a waveform [L] at borders (seconds) and inside."""
    hop = round(HOP_SECONDS * sample_rate)
    near, clear = round(NEAR_SECONDS / HOP_SECONDS), round(CLEAR_SECONDS / HOP_SECONDS)
    measured = {}
    for name, values in (("flux", _flux(waveform, hop)), ("level", _level(waveform, hop, sample_rate))):
        # The same for every moment: the most within the time that counts as one.
        most = torch.nn.functional.max_pool1d(values[None], 2 * near + 1, stride=1, padding=near)[0]
        at = torch.tensor([round(border / HOP_SECONDS) for border in borders])
        at = at[(at >= clear) & (at < len(most) - clear)]
        inside = torch.ones(len(most), dtype=torch.bool)
        inside[:clear] = inside[-clear:] = False
        for border in at.tolist():
            inside[border - clear : border + clear + 1] = False
        measured[name] = Measured(most[at], most[inside])
    return measured


def _flux(waveform: Tensor, hop: int) -> Tensor:
    """Rise of the spectrum [T] from the window before each moment to the one around it."""
    spectrum = torch.stft(waveform, WINDOW, hop, window=torch.hann_window(WINDOW), return_complex=True).abs()
    loudness = spectrum.sqrt()  # nearly as it is heard
    rise = loudness.diff(dim=1, prepend=loudness[:, :1])
    return rise.clamp(min=0).sum(dim=0)


def _level(waveform: Tensor, hop: int, sample_rate: int) -> Tensor:
    """Difference in dB [T] of the level after each moment and before it."""
    span = round(LEVEL_SECONDS * sample_rate)
    padded = torch.nn.functional.pad(waveform.square(), (span, span))
    power = padded.unfold(0, span, hop).mean(dim=1) + QUIET**2  # [T + span / hop]
    before = span // hop
    return 10 * (power[before:] / power[:-before]).log10().abs()
