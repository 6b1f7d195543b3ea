"""Makers of tiny things for the tests: music, recordings, parts, a whole model."""

import math
from pathlib import Path

import torch

from musiclm.audio import Audio

SAMPLE_RATE = 24_000


def tone(seconds: float, *, pitch: float = 440.0, sample_rate: int = SAMPLE_RATE) -> Audio:
    """A steady tone with a soft beginning."""
    time = torch.arange(round(seconds * sample_rate)) / sample_rate
    return Audio(0.5 * torch.sin(2 * math.pi * pitch * time)[None] * (time * 20).clamp(max=1), sample_rate)


def folder_of_tones(folder: Path, count: int, *, seconds: float = 2.0) -> Path:
    """A user's folder: wav files with captions beside them."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        tone(seconds, pitch=220.0 * 2 ** (index / 12)).save(folder / f"tone{index:02d}.wav")
        (folder / f"tone{index:02d}.txt").write_text(f"a steady tone, number {index}\na plain sine\n")
    return folder
