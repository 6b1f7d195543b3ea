"""How alike two pieces are in their pitch classes, moment by moment: the cosine of their chroma.

MusicGen's measure for its melody model (Copet et al., 2306.05284, sec. 3.4). There drums and bass are
separated and left out; here what lies below the register of melodies is. Waveforms are [L] at `SAMPLE_RATE`.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from musiclm.metrics.analysis import librosa

SAMPLE_RATE = 22_050  # Hz, librosa's
HOP_LENGTH = 512  # samples: 43 moments a second
LOWEST, OCTAVES = 261.6, 4  # Hz: of a piece, what sounds from middle C on
SPLIT_FREQUENCY = 260.0  # Hz: between B3 and middle C; below it, a bass and the roots of chords
INAUDIBLE = 1e-5  # magnitude of a moment: what arithmetic leaves of silence
LONGEST_FILTER = 2**16  # samples that the lowest octave's filter takes
QUIET = -35.0  # dB below the loudest moment of a guide: there, nothing is to be followed


def chroma_cosines(guides: Sequence[Tensor], music: Sequence[Tensor]) -> Tensor:
    """Mean cosine [guides, pieces] between the chroma of each guide, where it sounds, and of each piece."""
    chromas = [chroma(waveform) for waveform in guides]
    sounding = [loud_moments(waveform) for waveform in guides]
    made = [chroma(waveform, fmin=LOWEST, n_octaves=OCTAVES) for waveform in music]
    rows = []
    for own, heard in zip(chromas, sounding, strict=True):
        row = []
        for other in made:
            moments = min(own.shape[1], other.shape[1], len(heard))
            cosine = torch.nn.functional.cosine_similarity(own[:, :moments], other[:, :moments], dim=0)
            row.append(cosine[heard[:moments]].mean())
        rows.append(torch.stack(row))
    return torch.stack(rows)


def chroma(waveform: Tensor, *, fmin: float | None = None, n_octaves: int = 7) -> Tensor:
    """How strong each of the 12 pitch classes is at each moment, [12, moments]; from `fmin` Hz (C1) up."""
    strengths = librosa().feature.chroma_cqt(
        y=waveform.numpy(), sr=SAMPLE_RATE, hop_length=HOP_LENGTH, fmin=fmin, n_octaves=n_octaves
    )
    return torch.from_numpy(strengths)


def chroma_by_band(waveform: Tensor, *, tuning: float | None = None) -> tuple[Tensor, Tensor]:
    """Magnitude of each pitch class at each moment, below and above `SPLIT_FREQUENCY`: two of [12, moments].

    Pitch classes count from C. Nothing is normalized, so that silence is near zero and bands compare.

    Args:
        waveform: [L] at `SAMPLE_RATE`.
        tuning: of the music, as a fraction of a semitone from A4 = 440 Hz; None estimates it.
    """
    steps, low_octaves, octaves = 36, 3, 7  # steps of an octave; C1 … B3 below, C4 … B7 above
    moments = 1 + len(waveform) // HOP_LENGTH
    padded = torch.nn.functional.pad(waveform, (0, max(0, LONGEST_FILTER - len(waveform))))
    magnitudes = librosa().cqt(
        padded.numpy(),
        sr=SAMPLE_RATE,
        hop_length=HOP_LENGTH,
        n_bins=steps * octaves,
        bins_per_octave=steps,
        tuning=tuning,
    )
    cut = steps * low_octaves
    bands = []
    for band in (magnitudes[:cut], magnitudes[cut:]):
        fold = librosa().filters.cq_to_chroma(len(band), bins_per_octave=steps, n_chroma=12)  # [12, bins]
        bands.append(torch.from_numpy(fold @ abs(band)[:, :moments]).float())
    return bands[0], bands[1]


def chroma_entropy(chroma: Tensor) -> float:
    """How evenly sound is spread over the 12 pitch classes, moment by moment: 0 for one, 1 for all alike.

    The entropy of a moment of the power of `chroma` [12, moments] over its largest value, log 12, weighted by
    how strong the moment is. NaN where nothing sounds.
    """
    power = chroma.square()
    strength = power.sum(dim=0)
    if strength.sum() <= INAUDIBLE**2:
        return float("nan")
    shares = power / strength.clamp_min(1e-20)
    entropies = torch.special.entr(shares).sum(dim=0) / math.log(12)
    return float((entropies * strength).sum() / strength.sum())


def pitch_class_accuracy(chroma: Tensor, reference: Tensor) -> float:
    """Share of moments, where the reference [12, moments] sounds, whose strongest pitch class is its own.

    Chance is 1 in 12. Both begin together, and the shorter one ends the comparison. NaN where nothing sounds.
    """
    moments = min(chroma.shape[1], reference.shape[1])
    chroma, reference = chroma[:, :moments], reference[:, :moments]
    sounds = _sounding(reference)
    if not sounds.any():
        return float("nan")
    right = (chroma.argmax(dim=0) == reference.argmax(dim=0)) & (chroma.sum(dim=0) > INAUDIBLE)
    return float(right[sounds].float().mean())


def pitch_class_changes(chroma: Tensor, frame_rate: float) -> float:
    """How often a second the strongest pitch class of [12, moments] changes while it sounds; NaN for silence.

    A bass that holds its notes changes with them; one that wavers, many times a note.
    """
    sounds = _sounding(chroma)
    both = sounds[1:] & sounds[:-1]
    if not both.any():
        return float("nan")
    strongest = chroma.argmax(dim=0)
    return float((strongest[1:] != strongest[:-1])[both].float().mean()) * frame_rate


def _sounding(chroma: Tensor) -> Tensor:
    """Whether a moment is within 35 dB of the loudest one, [moments]."""
    strength = chroma.sum(dim=0)
    return (strength > INAUDIBLE) & (strength > strength.max() * 10 ** (QUIET / 20))


def loud_moments(waveform: Tensor) -> Tensor:
    """Whether anything sounds at each moment, [moments]."""
    level = librosa().feature.rms(y=waveform.numpy(), hop_length=HOP_LENGTH)[0]
    return torch.from_numpy(level > level.max() * 10 ** (QUIET / 20))
