"""Hears the score of a recording: beats and bars, keys, chords, and whether drums play.

Two spectra are read. One with long windows, folded to twelve pitch classes, tells harmony: its layers are the
same for all pitch classes, so that what is learned in one key is known in all of them. One with short windows
tells rhythm; it is given what the harmony does as well, since chords change with bars. What the network says
of every moment becomes a score in `musiclm/score/hearing.py`.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from musiclm.score.codes import CHORD_QUALITIES
from musiclm.score.hearing import BEAT_RATE, HARMONY_RATE, Heard, score_heard
from musiclm.score.score import MODES, Score
from musiclm.score.spectra import LogSpectrum

OCTAVES, LOWEST = 7, 32.703  # of the notes, from C1 on, in Hz
LEVEL = 0.1  # root mean square that recordings are brought to
SILENT = 1e-4  # root mean square below which nothing is heard: -80 dB of full scale
KEY_SECONDS, DRUMS_SECONDS = 10.0, 5.0  # that a key is told by, and whether drums play
KERNEL = 5  # frames of the layers over time
WINDOW, CONTEXT = 76.8, 19.2  # seconds that are heard at once, and around them, at least what a layer reaches


@dataclass(frozen=True)
class Activations:
    """Logits of what is heard of B waveforms, R frames a second of rhythm and T of harmony.

    Args:
        beat: [B, R] that a beat is at a frame, 50 frames a second.
        downbeat: [B, R] that it is the first of its bar, if there is one.
        drums: [B, R] that drums play around it.
        root: [B, 13, T] of the chord's root, the last for none, 12.5 frames a second.
        quality: [B, qualities, 12, T] of the chord, were it on this root.
        key: [B, 24, T], the modes by tonic, major first.
    """

    beat: Tensor
    downbeat: Tensor
    drums: Tensor
    root: Tensor
    quality: Tensor
    key: Tensor


class ScoreListener(nn.Module):
    """Hears beats, bars, keys, chords and drums.

    Args:
        channels: of the first layers of both spectra.
        harmony: width of the layers over pitch classes.
        harmony_layers: their number.
        width: of the layers over time that hear rhythm.
        layers: their number; each looks twice as far as the one before.
    """

    training_state: tuple[str, ...] = ()
    sample_rate = 24_000

    def __init__(
        self,
        channels: int = 12,
        harmony: int = 32,
        *,
        harmony_layers: int = 5,
        width: int = 64,
        layers: int = 7,
    ) -> None:
        super().__init__()
        self.hop_length = round(self.sample_rate / HARMONY_RATE)
        self.notes = LogSpectrum(
            sample_rate=self.sample_rate,
            window=8192,
            hop_length=self.hop_length,
            lowest=LOWEST,
            octaves=OCTAVES,
            bands_per_octave=24,
        )
        self.strokes = LogSpectrum(
            sample_rate=self.sample_rate,
            window=1024,
            hop_length=round(self.sample_rate / BEAT_RATE),
            lowest=40.0,
            octaves=8,
            bands_per_octave=6,
        )
        self.pitches = nn.Sequential(
            *_layer(1, channels, (5, 3), bands=2),
            *_layer(channels, channels, (3, 3), bands=1),
        )
        self.folded = Around(channels * OCTAVES, harmony)
        self.harmony = nn.ModuleList(HarmonyLayer(harmony, 2**number) for number in range(harmony_layers))
        self.root = nn.Conv2d(harmony, 1, 1)
        self.no_root = nn.Conv1d(2 * harmony, 1, 1)
        self.quality = nn.Conv2d(harmony, len(CHORD_QUALITIES), 1)
        self.scale = Around(harmony, harmony)
        self.key = nn.Conv2d(harmony, len(MODES), 1)

        self.onsets = nn.Sequential(
            *_layer(1, channels, (4, 3), bands=2),
            *_layer(channels, channels, (4, 3), bands=2),
            nn.Conv2d(channels, width, (12, 3), padding=(0, 1)),
        )
        self.changes = nn.Conv1d(2 * harmony, width, 1)
        self.rhythm = nn.ModuleList(RhythmLayer(width, 2**number) for number in range(layers))
        self.strike = nn.Conv1d(width, 2, 1)  # beat, downbeat
        self.drums = nn.Conv1d(width, 1, 1)

    def forward(self, waveform: Tensor) -> Activations:
        """What is heard of waveforms [B, 1, L] of about the level LEVEL."""
        waveform = functional.pad(waveform[:, 0], (0, -waveform.shape[2] % self.hop_length))  # [B, L]
        notes = self.pitches(self.notes(waveform)[:, None])  # [B, channels, 12 * OCTAVES, T]
        harmony = self.folded(notes.unflatten(2, (OCTAVES, 12)).flatten(1, 2))  # [B, harmony, 12, T]
        for layer in self.harmony:
            harmony = layer(harmony)
        any_class = torch.cat([harmony.mean(dim=2), harmony.amax(dim=2)], dim=1)  # [B, 2 * harmony, T]
        scale = functional.elu(self.scale(_blurred(harmony, round(KEY_SECONDS * HARMONY_RATE))))

        rhythm = self.onsets(self.strokes(waveform)[:, None])[:, :, 0]  # [B, width, R]
        changes = self.changes(any_class)
        rhythm = rhythm + changes.repeat_interleave(rhythm.shape[2] // changes.shape[2], dim=2)
        for layer in self.rhythm:
            rhythm = layer(rhythm)
        rhythm = functional.elu(rhythm)
        beat, downbeat = self.strike(rhythm).unbind(dim=1)
        drums = self.drums(_blurred(rhythm, round(DRUMS_SECONDS * BEAT_RATE)))[:, 0]
        return Activations(
            beat,
            downbeat,
            drums,
            torch.cat([self.root(harmony)[:, 0], self.no_root(any_class)], dim=1),
            self.quality(harmony),
            self.key(scale).flatten(1, 2),
        )

    @torch.inference_mode()
    def hear(self, waveform: Tensor) -> Score:
        """The score of a waveform [1, 1, L] of any length. Nothing is said of what is not heard clearly."""
        seconds = waveform.shape[2] / self.sample_rate
        level = float(waveform.float().square().mean().sqrt()) if waveform.shape[2] else 0.0
        if level < SILENT:
            return Score(seconds)
        device = self.key.weight.device
        hop = self.hop_length
        window, context = (round(each * self.sample_rate / hop) for each in (WINDOW, CONTEXT))  # frames
        frames = -(-waveform.shape[2] // hop)
        parts = []
        for start in range(0, frames, window):
            first, last = max(start - context, 0), start + window + context
            piece = waveform[..., first * hop : last * hop].to(device).float() * (LEVEL / level)
            parts.append(_heard(self(piece), start - first, min(window, frames - start)))
        return score_heard(Heard.joined(parts), _loudness(waveform, hop), seconds)


class Around(nn.Module):
    """A layer from all twelve pitch classes to each, the same for all: [B, C, 12, T] to [B, D, 12, T]."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(channels, out, (12, 1))

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        mixed: Tensor = self.mix(torch.cat([x, x[:, :, :11]], dim=2))
        return mixed


class HarmonyLayer(nn.Module):
    """Over time, every channel and pitch class on its own; then over pitch classes."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(width)
        reach = dilation * (KERNEL // 2)
        self.time = nn.Conv2d(
            width, width, (1, KERNEL), padding=(0, reach), dilation=(1, dilation), groups=width
        )
        self.around = Around(width, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, 12, T] to the same shape."""
        return x + self.around(functional.elu(self.time(functional.elu(self.norm(x)))))


class RhythmLayer(nn.Module):
    """Over time, as in the temporal convolutional networks of Davies and Böck (EUSIPCO 2019)."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width)
        self.time = nn.Conv1d(width, width, KERNEL, padding=dilation * (KERNEL // 2), dilation=dilation)
        self.mix = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[B, width, R] to the same shape."""
        return x + self.mix(functional.elu(self.time(functional.elu(self.norm(x)))))


def _layer(channels: int, out: int, kernel: tuple[int, int], *, bands: int) -> list[nn.Module]:
    """A layer over `kernel` bands and frames, at every `bands`-th band and every frame."""
    padding = ((kernel[0] - 1) // 2, kernel[1] // 2)
    convolution = nn.Conv2d(channels, out, kernel, (bands, 1), padding, bias=False)
    return [convolution, nn.BatchNorm2d(out), nn.ELU()]


def _blurred(x: Tensor, frames: int) -> Tensor:
    """The mean [..., T] of the frames around each, fewer at the ends."""
    half = frames // 2
    sums = functional.pad(x.cumsum(dim=-1, dtype=torch.float64), (1, 0))  # [..., T + 1]
    places = torch.arange(x.shape[-1], device=x.device)
    first, last = (places - half).clamp(min=0), (places + half + 1).clamp(max=x.shape[-1])
    return ((sums[..., last] - sums[..., first]) / (last - first)).to(x.dtype)


def _heard(activations: Activations, start: int, count: int) -> Heard:
    """Probabilities of `count` frames of harmony from `start` on, and of the rhythm at these moments."""
    each = round(BEAT_RATE / HARMONY_RATE)
    strokes, frames = slice(each * start, each * (start + count)), slice(start, start + count)
    root = activations.root[0, :, frames].float().log_softmax(dim=0)  # [13, T]
    quality = activations.quality[0, ..., frames].float().log_softmax(dim=0)  # [qualities, 12, T]
    chord = (root[:12] + quality).transpose(0, 1).flatten(0, 1)  # [12 * qualities, T], by root
    beat = activations.beat[0, strokes].float().sigmoid()
    return Heard(
        beat.cpu().numpy(),
        (beat * activations.downbeat[0, strokes].float().sigmoid()).cpu().numpy(),
        activations.drums[0, strokes].float().sigmoid().cpu().numpy(),
        torch.cat([chord, root[12:]]).cpu().numpy(),
        activations.key[0, :, frames].float().log_softmax(dim=0).cpu().numpy(),
    )


def _loudness(waveform: Tensor, hop: int) -> np.ndarray:
    """Root mean square [T] of what lies around each frame."""
    power = functional.pad(waveform[0, 0].float().square(), (0, -waveform.shape[2] % hop))
    loudness: np.ndarray = power.view(-1, hop).mean(dim=1).sqrt().cpu().numpy()
    return loudness
