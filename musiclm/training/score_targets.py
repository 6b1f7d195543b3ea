"""What the listener of scores is to say of crops, frame by frame, and how crops are made harder to hear."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from musiclm.score.codes import CHORD_QUALITIES
from musiclm.score.hearing import BEAT_RATE, HARMONY_RATE
from musiclm.score.score import MODES, Beat, Chord, From, Key, NoChord, Score, what_at

NOISE = 2**16  # samples of noise that are drawn; crops have them over and over
OCTAVES = 10  # of a spectrum that filters and colours are told apart in
UNKNOWN = -100  # what cross-entropy leaves out
REACH = 2.0  # frames on either side of a beat over which its target falls to 0; at the next, half is left


@dataclass(frozen=True)
class Targets:
    """Of B crops, R frames of rhythm and T of harmony.

    Args:
        beat: [B, R] from 0 to 1 at a beat.
        beat_known: [B, R] 1 where `beat` is known, else 0.
        downbeat: [B, R] 1 around a downbeat, else 0.
        drums: [B, R] 1 where they play, 0 where not, UNKNOWN where nobody knows.
        root: [B, T] 0 … 11, 12 for no chord, UNKNOWN.
        quality: [B, T] places in CHORD_QUALITIES, UNKNOWN.
        key: [B, T] places among the modes by tonic, UNKNOWN.
    """

    beat: Tensor
    beat_known: Tensor
    downbeat: Tensor
    drums: Tensor
    root: Tensor
    quality: Tensor
    key: Tensor


def targets_of(scores: Sequence[Score], frames: int, *, device: torch.device | str = "cpu") -> Targets:
    """Those of the scores of crops, of so many frames of harmony each."""
    rows = [_row(score, frames) for score in scores]
    return Targets(*(torch.from_numpy(np.stack(each)).to(device) for each in zip(*rows, strict=True)))


def of_crop(score: Score, start: float, seconds: float, *, speed: float = 1.0, semitones: int = 0) -> Score:
    """A score from `start` on for so many seconds, then played faster, and so much higher."""
    moved = score.later(-start)
    return Score(
        seconds / speed,
        tuple(Beat(beat.at / speed, beat.place, beat.meter) for beat in moved.beats),
        tuple(
            From(each.at / speed, each.what and Key((each.what.tonic + semitones) % 12, each.what.mode))
            for each in moved.keys
        ),
        tuple(From(each.at / speed, _higher(each.what, semitones)) for each in moved.chords),
        tuple(From(each.at / speed, each.what) for each in moved.drums),
    )


def _higher(chord: Chord | NoChord | None, semitones: int) -> Chord | NoChord | None:
    return replace(chord, root=(chord.root + semitones) % 12) if isinstance(chord, Chord) else chord


def _row(score: Score, frames: int) -> tuple[np.ndarray, ...]:
    strokes = frames * round(BEAT_RATE / HARMONY_RATE)
    places = np.arange(strokes)
    at = np.array([beat.at for beat in score.beats]) * BEAT_RATE
    downbeats = np.array([beat.place == 0 for beat in score.beats], bool)
    beat, known, downbeat = np.zeros((3, strokes), np.float32)
    if len(at):
        nearest = np.abs(places[:, None] - at).argmin(axis=1)
        beat = np.clip(1 - np.abs(places - at[nearest]) / REACH, 0, None).astype(np.float32)
        downbeat = downbeats[nearest].astype(np.float32)
        known = ((places >= at[0] - REACH) & (places <= at[-1])).astype(np.float32)
    drums = [what_at(score.drums, place / BEAT_RATE) for place in places]
    times = [place / HARMONY_RATE for place in range(frames)]
    chords = [what_at(score.chords, time) if time <= score.seconds else None for time in times]
    keys = [what_at(score.keys, time) for time in times]
    return (
        beat,
        known,
        downbeat,
        np.array([UNKNOWN if each is None else float(each) for each in drums], np.float32),
        np.array([_root(each) for each in chords], np.int64),
        np.array([_quality(each) for each in chords], np.int64),
        np.array([_key(each) for each in keys], np.int64),
    )


def _root(chord: Chord | NoChord | None) -> int:
    return UNKNOWN if chord is None else chord.root if isinstance(chord, Chord) else 12


def _quality(chord: Chord | NoChord | None) -> int:
    return CHORD_QUALITIES.index(chord.quality) if isinstance(chord, Chord) else UNKNOWN


def _key(key: Key | None) -> int:
    return UNKNOWN if key is None else MODES.index(key.mode) * 12 + key.tonic


def interrupted(waveform: Tensor, targets: Targets, noise: Tensor, rows: Tensor) -> tuple[Tensor, Targets]:
    """Crops with a stretch, of at least a quarter, of noise alone, where no beat, chord or drum is.

    Args:
        waveform: [B, 1, L].
        targets: of it.
        noise: [B, 1, L].
        rows: [B] which crops are to be so.
    """
    batch = len(waveform)
    ends = torch.rand(batch, 2, 1, device=waveform.device).sort(dim=1).values
    first, last = ends[:, 0], torch.maximum(ends[:, 1], ends[:, 0] + 0.25)
    last = torch.where(last > 0.8, 1.0, last)

    def gone(length: int) -> Tensor:
        places = torch.linspace(0, 1, length, device=waveform.device)
        return rows[:, None] & (places >= first) & (places <= last)  # [B, length]

    strokes, frames = gone(targets.beat.shape[1]), gone(targets.root.shape[1])
    return (
        torch.where(gone(waveform.shape[2])[:, None], noise, waveform),
        Targets(
            targets.beat.masked_fill(strokes, 0.0),
            targets.beat_known.masked_fill(strokes, 1.0),
            targets.downbeat,
            targets.drums.masked_fill(strokes, 0.0),
            targets.root.masked_fill(frames, 12),
            targets.quality.masked_fill(frames, UNKNOWN),
            targets.key.masked_fill(frames, UNKNOWN),
        ),
    )


def coloured(waveform: Tensor) -> tuple[Tensor, Tensor]:
    """Waveforms [B, 1, L] through slowly curved random filters, with noise 10 to 60 dB below; noise alone.

    The noise alone, [B, 1, L], is from 0 to 80 dB below the music; both are from white to brown.
    """
    batch, length, device = len(waveform), waveform.shape[2], waveform.device
    spectrum = torch.fft.rfft(waveform[:, 0])  # [B, L / 2 + 1]
    place = _octaves(spectrum.shape[1], device)
    waves = torch.rand(batch, 3, 1, device=device) * torch.tensor([[1.0], [2.0], [4.0]], device=device)
    phases = torch.rand(batch, 3, 1, device=device)
    curves = 5 * torch.randn(batch, 3, 1, device=device) * torch.sin(2 * math.pi * (phases + waves * place))
    heard = torch.fft.irfft(spectrum * 10 ** (curves.sum(dim=1).clamp(-18, 18) / 20), length)
    noise = _noise(batch, device).repeat(1, length // NOISE + 1)[:, :length]
    level = heard.square().mean(dim=1, keepdim=True).sqrt()
    below = 10 ** (-(10 + 50 * torch.rand(batch, 1, device=device)) / 20)
    alone = 10 ** (-80 * torch.rand(batch, 1, device=device) / 20)
    return (heard + level * below * noise)[:, None], (level * alone * noise)[:, None]


def _noise(batch: int, device: torch.device) -> Tensor:
    """Noise [B, NOISE] of root mean square 1 that falls by 0 to 6 dB an octave."""
    grains = torch.fft.rfft(torch.randn(batch, NOISE, device=device))
    grains = grains * 2 ** (
        -OCTAVES * _octaves(grains.shape[1], device) * torch.rand(batch, 1, device=device)
    )
    noise = torch.fft.irfft(grains, NOISE)
    return noise / noise.square().mean(dim=1, keepdim=True).sqrt()


def _octaves(bins: int, device: torch.device) -> Tensor:
    """Where the bins of a spectrum lie in octaves, [bins], from 0 to 1."""
    return (torch.linspace(2**-OCTAVES, 1, bins, device=device).log2() / OCTAVES) + 1


def resampled(waveform: Tensor, length: int) -> Tensor:
    """Waveforms [B, 1, L] played faster and higher, or slower, to be [B, 1, length]; treble suffers."""
    return functional.interpolate(waveform, length, mode="linear")
