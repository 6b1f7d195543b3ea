"""The three small networks of the listener: for the tempo, the key, and what plays.

Each takes what `musiclm/metrics/` makes of a clip. What is known of music is built in: a tempogram that is
moved moves the tempo, and pitch classes that are turned turn the key.
"""

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from musiclm.metrics.tempo import BANDS, PERIODS, STEPS

SLOWEST, FASTEST = 55.0, 190.0  # bpm of the tempi that are thought of
AROUND = 2 * STEPS  # periods on each side of a tempo's own that speak for it or against it: two octaves


class TempoNetwork(nn.Module):
    """A tempogram's tempo: one small network looks at every tempo that it might be.

    It sees the tempogram around the tempo's period, the tempo, and what kind of music it is.
    """

    octave: Tensor  # [K] of each tempo, from 105 bpm

    def __init__(self, kinds: int, width: int = 56) -> None:
        super().__init__()
        chosen = np.flatnonzero((PERIODS >= 60 / FASTEST) & (PERIODS <= 60 / SLOWEST))
        self.first, self.count = int(chosen[0]), len(chosen)
        self.register_buffer("octave", torch.log2(torch.tensor(60 / PERIODS[chosen] / 105)).float())
        self.layers = nn.Sequential(
            nn.Linear(BANDS * (2 * AROUND + 1) + 3 + kinds, width),
            nn.ReLU(),
            nn.Dropout(0.3),
            nn.Linear(width, 32),
            nn.ReLU(),
            nn.Linear(32, 1),
        )

    @property
    def tempi(self) -> Tensor:
        """The tempi that are thought of, in bpm: [K]."""
        return 105 * torch.exp2(self.octave)

    def forward(self, tempogram: Tensor, kind: Tensor) -> Tensor:
        """Logits [B, K] of the tempi for tempograms [B, BANDS, periods] and kinds of music [B, kinds]."""
        padded = functional.pad(tempogram, (AROUND, AROUND))
        around = padded.unfold(2, 2 * AROUND + 1, 1)[:, :, self.first : self.first + self.count]
        seen = around.transpose(1, 2).flatten(2)  # [B, K, BANDS * (2 * AROUND + 1)]
        place = torch.stack([self.octave, self.octave**2, self.octave**3], dim=1).expand(len(seen), -1, -1)
        kinds = kind[:, None].expand(-1, self.count, -1)
        return self.layers(torch.cat([seen, place, kinds], dim=2)).squeeze(2)

    def tempo(self, tempogram: Tensor, kind: Tensor) -> Tensor:
        """Tempi [B] in bpm: the likeliest, to a fraction of a step."""
        shares = self(tempogram, kind).softmax(dim=1)
        near = (shares.argmax(dim=1, keepdim=True) + torch.arange(-2, 3)).clamp(0, self.count - 1)  # [B, 5]
        weights = shares.gather(1, near)
        return 105 * torch.exp2((weights * self.octave[near]).sum(dim=1) / weights.sum(dim=1))


class KeyNetwork(nn.Module):
    """The key of pitch classes: what is asked of C is asked of every other tonic."""

    def __init__(self, chords: int = 20, width: int = 32) -> None:
        super().__init__()
        self.chords = nn.Conv1d(3, chords, 12)
        self.scales = nn.Conv1d(2 * chords + 3, width, 12)
        self.modes = nn.Conv1d(width, 2, 12)
        self.dropout = nn.Dropout(0.3)

    def forward(self, strengths: Tensor) -> Tensor:
        """Logits [B, 24] of the twelve major keys from C on, then the minor ones, for [B, 3, 12, T]."""
        rows, moments = strengths.shape[0], strengths.shape[3]
        each = strengths.permute(0, 3, 1, 2).flatten(0, 1)  # [B * T, 3, 12]
        chords = torch.relu(_turned(each, self.chords)).unflatten(0, (rows, moments))  # [B, T, chords, 12]
        over_time = torch.cat([chords.mean(dim=1), chords.amax(dim=1), strengths.mean(dim=3)], dim=1)
        scales = torch.relu(_turned(self.dropout(over_time), self.scales))  # [B, width, 12]
        return _turned(self.dropout(scales), self.modes).flatten(1)


def _turned(classes: Tensor, weights: nn.Conv1d) -> Tensor:
    """A convolution over pitch classes [B, C, 12] that go round."""
    out: Tensor = weights(torch.cat([classes, classes[..., :-1]], dim=2))
    return out


class TimbreNetwork(nn.Module):
    """What plays: the lead, the genre, and whether there are drums, of a log-mel spectrogram."""

    def __init__(self, leads: int, genres: int) -> None:
        super().__init__()
        self.sizes = (leads, genres, 2)
        self.body = nn.Sequential(
            _block(1, 16, 5, 2),
            _block(16, 24, 3, 2),
            _block(24, 32, 3, 2),
            _block(32, 64, (10, 3), 1, (0, 1)),
        )
        self.dropout = nn.Dropout(0.3)
        self.heads = nn.Linear(128, sum(self.sizes))

    def forward(self, log_mels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of leads, genres, and no drums or drums, for [B, 80, T]."""
        heard = self.body(log_mels[:, None])[:, :, 0]  # [B, 64, T / 8]
        over_time = torch.cat([heard.mean(dim=2), heard.std(dim=2)], dim=1)
        leads, genres, drums = self.heads(self.dropout(over_time)).split(self.sizes, dim=1)
        return leads, genres, drums

    def kind(self, log_mels: Tensor) -> Tensor:
        """What kind of music it is, for its tempo: shares [B, genres + 2] of genre, and no drums or drums."""
        _, genres, drums = self(log_mels)
        return torch.cat([genres.softmax(dim=1), drums.softmax(dim=1)], dim=1)


def _block(
    inputs: int,
    outputs: int,
    kernel: int | tuple[int, int],
    stride: int,
    padding: tuple[int, int] | None = None,
) -> nn.Sequential:
    pad = padding if padding is not None else kernel // 2 if isinstance(kernel, int) else 0
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, pad), nn.BatchNorm2d(outputs), nn.ReLU())
