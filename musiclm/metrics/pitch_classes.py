"""What a key is told by: how strong each pitch class is at each moment, in three registers."""

import torch
from torch import Tensor

from musiclm.metrics.analysis import librosa

HOP_LENGTH = 2048  # samples: 12 moments a second at 24 kHz
OCTAVES = 7  # from C1 on
REGISTERS = ((0, 2), (2, 4), (4, 7))  # octaves: bass, middle, treble
COMPRESSION = 30.0  # of magnitudes, before the logarithm
SHORTEST = 2**16  # samples that the filters of the lowest octave take


def pitch_classes(waveform: Tensor, sample_rate: int) -> Tensor:
    """Strengths [3, 12, moments] of the pitch classes from C on in a waveform [L], as loud as any other."""
    padded = torch.nn.functional.pad(waveform, (0, max(0, SHORTEST - len(waveform))))
    spectrum = librosa().cqt(
        padded.numpy(),
        sr=sample_rate,
        hop_length=HOP_LENGTH,
        fmin=librosa().note_to_hz("C1"),
        n_bins=12 * OCTAVES,
        tuning=0.0,
    )
    octaves = torch.log1p(COMPRESSION * torch.from_numpy(abs(spectrum))).unflatten(0, (OCTAVES, 12))
    registers = torch.stack([octaves[first:last].mean(dim=0) for first, last in REGISTERS])  # [3, 12, T]
    return registers / (registers.square().sum(dim=(0, 1)).mean().sqrt() + 1e-6)
