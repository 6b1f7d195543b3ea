"""Are the places heard where windows meet? Flux and level there, beside the same inside windows.

Spectral flux, the rise of a spectrum from one moment to the next, shows a click or another timbre; the level
of the 50 ms before and after shows a step in loudness. Music has both by itself, so what counts is whether
borders stay within the range of everywhere else, and whether they lean to one end of it.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.generation.windows import WindowSchedule

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


def seams(audio: Audio, borders: Sequence[float]) -> dict[str, Measured]:
    """Spectral `flux` and `level` difference (dB) of mono audio at borders (seconds) and inside."""
    waveform, rate = audio.waveform[0], audio.sample_rate
    hop = round(HOP_SECONDS * rate)
    near, clear = round(NEAR_SECONDS / HOP_SECONDS), round(CLEAR_SECONDS / HOP_SECONDS)
    measured = {}
    for name, values in (("flux", _flux(waveform, hop)), ("level", _level(waveform, hop, rate))):
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


def borders_of(schedules: Iterable[tuple[WindowSchedule, float, float]], seconds: float) -> list[float]:
    """Seconds at which windows end, in a piece of `seconds` that goes on from nothing.

    Args:
        schedules: of windows, each with the frames per second of its clock and the seconds by which what the
            windows end is heard earlier: a block of sound is held back by the codec's context.
        seconds: of the piece.
    """
    borders = []
    for schedule, rate, early in schedules:
        _, end = schedule.window(0)
        while end / rate < seconds:
            borders.append(end / rate - early)
            _, end = schedule.window(end)
    return sorted(borders)


def _flux(waveform: Tensor, hop: int) -> Tensor:
    """Rise of the spectrum [T] from the window before each moment to the one around it."""
    spectrum = torch.stft(waveform, WINDOW, hop, window=torch.hann_window(WINDOW), return_complex=True).abs()
    rise = spectrum.sqrt().diff(
        dim=1, prepend=spectrum[:, :1].sqrt()
    )  # the root: as loudness grows, or nearly
    return rise.clamp(min=0).sum(dim=0)


def _level(waveform: Tensor, hop: int, rate: int) -> Tensor:
    """Difference in dB [T] of the level after each moment and before it."""
    span = round(LEVEL_SECONDS * rate)
    padded = torch.nn.functional.pad(waveform.square(), (span, span))
    power = padded.unfold(0, span, hop).mean(dim=1) + QUIET**2  # [T + span / hop]
    before = span // hop
    return 10 * (power[before:] / power[:-before]).log10().abs()
