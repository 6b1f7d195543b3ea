"""Windows of the same melody in different sound: what the melody embedding trains on and is measured by.

A window begins at the same beat in every version; what is mixed to a lead (its own band, a stranger's, or
nothing) is drawn anew each time. Which window comes at which step depends on the seed and the step alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from musiclm.data.crops import load_crop, run_report
from musiclm.data.loading import (
    ResumableLoader,
    ResumableSampler,
    check_any_to_train_on,
    check_crops,
    no_validation,
)
from musiclm.data.melodies import SILENCE, Melody, Version, agreement, find_melodies
from musiclm.data.sources import Split
from musiclm.files import shown

# What is asked for a melody when the embedding is measured: a version, and what sounds beside it.
QUERIES = {
    "tempo": ("tempo", "alone"),
    "instrument": ("instrument", "alone"),
    "hum": ("hum", "alone"),
    "whistle": ("whistle", "alone"),
    "accompaniment": ("instrument", "stranger"),
}
VOICES = ("hum", "whistle")
SOUNDING = 0.4  # of a window, at least: what is mostly rest holds no melody
SAME = 0.6  # windows whose notes agree more than this are the same music
TRIES = 20  # draws for a window that sounds


class MelodyWindows(Dataset[dict[str, Tensor]]):
    """Item i is the i-th random window, in `views` versions: waveform [V, 1, L] and classes [V, steps].

    Args:
        melodies: of one split.
        seconds: length of a window.
        sample_rate: Hz.
        views: versions of a window.
        seed: of the draw.
    """

    def __init__(
        self, melodies: Sequence[Melody], seconds: float, sample_rate: int, *, views: int, seed: int
    ) -> None:
        self.melodies = [melody for melody in melodies if len(melody.versions) >= views]
        self.seconds = seconds
        self.sample_rate = sample_rate
        self.views = views
        self.seed = seed
        self.bands = [version for melody in melodies for version in melody.versions.values() if version.band]
        self.weights = np.array([melody.beats for melody in self.melodies])

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        rng = np.random.default_rng([self.seed, index])
        melody, beat = self.draw(rng)
        kinds = rng.permutation(list(melody.versions))[: self.views]
        views = [self._view(melody.versions[kind], beat, rng) for kind in kinds]
        return {
            "waveform": torch.stack([waveform for waveform, _ in views]),
            "classes": torch.stack([classes for _, classes in views]),
        }

    def draw(self, rng: np.random.Generator) -> tuple[Melody, float]:
        """A melody, and a beat from which on all versions sound (at the last of TRIES, perhaps not)."""
        for _ in range(TRIES):
            melody = self.melodies[rng.choice(len(self.melodies), p=self.weights / self.weights.sum())]
            slowest = max(version.tempo for version in melody.versions.values())
            beat = rng.uniform(0, max(melody.beats - self.seconds * slowest / 60, 0))
            if all((self.classes(v, beat) != SILENCE).mean() >= SOUNDING for v in melody.versions.values()):
                break
        return melody, beat

    def classes(self, version: Version, beat: float) -> np.ndarray:
        return version.pitch_classes(beat * 60 / version.tempo, self.seconds)

    def view(
        self, version: Version, beat: float, beside: str, gain: float, rng: np.random.Generator
    ) -> Tensor:
        """A window [1, L] of a lead beside its "own" or a "stranger" band, `gain` dB above it, or "alone"."""
        start = beat * 60 / version.tempo
        sound = self._load(version.lead, start)
        if beside == "own" and version.band is not None:
            sound = sound + 10 ** (gain / 20) * self._load(version.band, start)
        if beside == "stranger" and self.bands:
            other = self.bands[rng.integers(len(self.bands))]
            assert other.band is not None
            place = rng.uniform(0, max(other.seconds - self.seconds, 0))
            sound = sound + 10 ** (gain / 20) * self._load(other.band, place)
        return sound

    def _view(self, version: Version, beat: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        chance, gain = rng.uniform(), rng.uniform(-8, 4)
        if version.kind in VOICES:
            beside, gain = ("stranger" if chance < 0.3 else "alone"), gain - 4
        elif version.band is None:
            beside = "stranger" if chance < 0.6 else "alone"
        else:
            beside = "own" if chance < 0.55 else "stranger" if chance < 0.8 else "alone"
        classes = torch.from_numpy(self.classes(version, beat))
        return self.view(version, beat, beside, gain, rng), classes

    def _load(self, path: Path, start: float) -> Tensor:
        return load_crop(path, start, self.seconds, self.sample_rate)


class MelodyQueries(Dataset[dict[str, Tensor]]):
    """Fixed windows, each as the whole band plays it and then as in QUERIES: no two of the same music.

    Item i: waveform [1 + queries, 1, L] and classes [1 + queries, steps].
    """

    def __init__(self, windows: MelodyWindows, count: int) -> None:
        self.windows = windows
        self.places: list[tuple[Melody, float]] = []
        kept: list[np.ndarray] = []
        rng = np.random.default_rng(0)
        for _ in range(TRIES * count if windows.melodies else 0):
            melody, beat = windows.draw(rng)
            own = windows.classes(melody.versions["original"], beat)
            if not kept or agreement(np.stack(kept), own).max() <= SAME:
                kept.append(own)
                self.places.append((melody, beat))
            if len(kept) == count:
                break

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        melody, beat = self.places[index]
        rng = np.random.default_rng(index)
        asked = [("original", "own"), *QUERIES.values()]
        versions = [melody.versions[kind] for kind, _ in asked]
        sounds = [
            self.windows.view(version, beat, beside, 0.0, rng)
            for version, (_, beside) in zip(versions, asked, strict=True)
        ]
        classes = [torch.from_numpy(self.windows.classes(version, beat)) for version in versions]
        return {"waveform": torch.stack(sounds), "classes": torch.stack(classes)}


class MelodyVersions(lightning.LightningDataModule):
    """Batches of windows in several versions: waveform [M, V, 1, L], classes [M, V, steps].

    Args:
        melodies: a folder made by `musiclm corpus melodies`.
        seconds: length of a window.
        views: versions of each window in a training batch.
        batch_size: windows in a batch.
        sample_rate: Hz.
        windows_per_epoch: an epoch is this many windows.
        validation_windows: fixed windows of held-out melodies, as many as there are of different music.
        num_workers: processes that read audio.
        seed: of the draw.
        strict: refuse to train if any file is left out.
    """

    def __init__(
        self,
        melodies: Path,
        seconds: float = 4.0,
        *,
        views: int = 4,
        batch_size: int = 24,
        sample_rate: int = 24_000,
        windows_per_epoch: int = 2400,
        validation_windows: int = 200,
        num_workers: int = 0,
        seed: int = 0,
        strict: bool = False,
    ) -> None:
        super().__init__()
        check_crops(seconds, batch_size=batch_size, crops_per_epoch=windows_per_epoch)
        self.melodies = melodies
        self.seconds = seconds
        self.views = views
        self.batch_size = batch_size
        self.sample_rate = sample_rate
        self.windows_per_epoch = windows_per_epoch
        self.validation_windows = validation_windows
        self.num_workers = num_workers
        self.seed = seed
        self.strict = strict
        self._melodies: list[Melody] = []

    def __str__(self) -> str:
        """As for `AudioCrops`: Lightning's own would look for the melodies."""
        return f"windows of {self.melodies}"

    def split(self, name: Split) -> list[Melody]:
        """The melodies of a split; those of `valid` may be none.

        Raises:
            ValueError: there are none to train on.
        """
        if not self._melodies:
            report = run_report(self.trainer, strict=self.strict)
            self._melodies = find_melodies(self.melodies, report)
            report.close(sum(len(melody.versions) for melody in self._melodies))
        chosen = [melody for melody in self._melodies if melody.split == name]
        if name == "train":
            check_any_to_train_on(len(chosen), shown(self.melodies), "melody")
        return chosen

    def unmeasured(self) -> str | None:
        """Why nothing can be measured; None where a melody is held out."""
        return None if self.split("valid") else f"no melody of {shown(self.melodies)} is held out"

    def windows(self, name: Split) -> MelodyWindows:
        """Random windows of a split."""
        return MelodyWindows(
            self.split(name), self.seconds, self.sample_rate, views=self.views, seed=self.seed
        )

    def train_dataloader(self) -> DataLoader:
        return self._loader(self.windows("train"), ResumableSampler(self.windows_per_epoch, self))

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        if reason := self.unmeasured():
            return no_validation(reason, self.trainer)
        queries = MelodyQueries(self.windows("valid"), self.validation_windows)
        return self._loader(queries, range(len(queries)), fixed=True)

    def _loader(self, data: Any, sampler: Any, *, fixed: bool = False) -> DataLoader:
        return ResumableLoader(
            data,
            batch_size=self.batch_size,
            sampler=sampler,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            drop_last=not fixed,
        )
