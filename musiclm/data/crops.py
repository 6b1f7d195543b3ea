"""Random crops of recordings: what the tokenizers train on.

Which crop comes at which step depends on the seed and the step alone, so that a resumed training sees what an
unbroken one would have seen.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from musiclm.audio import Audio
from musiclm.data.left_out import Report
from musiclm.data.loading import (
    ResumableLoader,
    ResumableSampler,
    check_any_to_train_on,
    check_crops,
    no_validation,
)
from musiclm.data.sources import Recording, SourceOptions, find_recordings
from musiclm.files import shown

MIN_SHARE = 0.5  # of a crop that its recording must fill: mere padding teaches nothing
TRIES = 100  # crops in a row that cannot be read


def load_crop(path: Path, start: float, seconds: float, sample_rate: int) -> Tensor:
    """Mono samples [1, round(seconds * sample_rate)] from `start` seconds on, zeros past the end."""
    length = round(seconds * sample_rate)
    waveform = Audio.load_mono(path, sample_rate, start=start, seconds=seconds).waveform[:, :length]
    return torch.nn.functional.pad(waveform, (0, length - waveform.shape[1]))


class CropDataset(Dataset[dict[str, Any]]):
    """Item `i` is the i-th random crop: its recording, drawn in proportion to length, place and caption.

    Where a crop cannot be read, the next draw of the same generator takes its place: which crop comes at
    which step depends neither on when that is found nor on who finds it.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        seconds: float,
        sample_rate: int,
        seed: int,
        report: Report | None = None,
    ) -> None:
        self.report = report or Report()
        self.recordings = recordings
        self.seconds = seconds
        self.sample_rate = sample_rate
        self.seed = seed
        self.weights = torch.tensor([recording.seconds for recording in recordings], dtype=torch.float64)

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        for _ in range(TRIES):
            recording, start, caption = self._draw(generator)
            try:
                waveform = load_crop(recording.path, start, self.seconds, self.sample_rate)  # [1, L]
            except (ValueError, OSError) as error:
                self.report.leave_out_once(recording.path, error)
                self.report.check_strict()
                continue
            return {"waveform": waveform, "caption": caption, "id": recording.id, "seconds": start}
        raise ValueError(
            f"expected recordings that can be read, {TRIES} crops in a row cannot, the last of "
            f"{shown(recording.path)}: see the lines above"
        )

    def _draw(self, generator: torch.Generator) -> tuple[Recording, float, str]:
        """A recording, a place in it in seconds, and one of its captions."""
        recording = self.recordings[int(torch.multinomial(self.weights, 1, generator=generator))]
        place, choice = torch.rand(2, generator=generator).tolist()
        start = place * max(recording.seconds - self.seconds, 0.0)
        caption = recording.captions[int(choice * len(recording.captions))] if recording.captions else ""
        return recording, start, caption


class AudioCrops(lightning.LightningDataModule):
    """Batches of crops: waveform [B, 1, L] float32, caption and id (lists), seconds [B] (the crop's start).

    Args:
        audio: a folder of recordings, or several files and folders; those of less than half a crop are left
            out. What is left out stands in left_out.tsv in the run's folder, with its reason.
        seconds: length of a crop.
        batch_size: crops in a batch.
        sample_rate: Hz; recordings of another rate are resampled.
        crops_per_epoch: an epoch is this many crops, since recordings have no natural one.
        validation_crops: fixed crops of held-out recordings.
        num_workers: processes that read audio.
        seed: of the draw of crops.
        strict: refuse to train if any file is left out.
        source: how tables are read, and what is held out.
    """

    def __init__(
        self,
        audio: Path | list[Path],
        seconds: float,
        *,
        batch_size: int = 16,
        sample_rate: int = 24_000,
        crops_per_epoch: int = 4096,
        validation_crops: int = 64,
        num_workers: int = 0,
        seed: int = 0,
        strict: bool = False,
        source: SourceOptions | None = None,
    ) -> None:
        super().__init__()
        check_crops(seconds, batch_size=batch_size, crops_per_epoch=crops_per_epoch)
        self.audio = audio
        self.source = source
        self.seconds = seconds
        self.batch_size = batch_size
        self.sample_rate = sample_rate
        self.crops_per_epoch = crops_per_epoch
        self.validation_crops = validation_crops
        self.num_workers = num_workers
        self.seed = seed
        self.strict = strict
        self._recordings: list[Recording] = []
        self._report = Report()

    def __str__(self) -> str:
        """Lightning's own would look for the recordings, before there is a run whose report could say so."""
        return f"crops of {self.audio}"

    @property
    def recordings(self) -> list[Recording]:
        """All recordings, train and valid, looked for once.

        Raises:
            FileNotFoundError, ValueError: there are none to train on.
        """
        if not self._recordings:
            self._report = run_report(self.trainer, strict=self.strict)
            found = find_recordings(self.audio, self._report, self.source)
            kept = [each for each in found if each.seconds >= MIN_SHARE * self.seconds]
            for each in found:
                if each.seconds < MIN_SHARE * self.seconds:
                    self._report.leave_out(
                        each.path,
                        f"{each.seconds:.3g} s, too short: crops of {self.seconds:g} s need half of it",
                    )
            if not kept:
                self._report.write()
                longest = max(each.seconds for each in found)
                raise ValueError(
                    f"expected recordings of at least half a crop of {self.seconds:g} s, the longest is "
                    f"{longest:.3g} s: use a smaller --data.init_args.seconds"
                )
            self._report.close(len(kept))
            if self._report.silent:  # what this process finds later, it alone finds
                self._report = Report(strict=self.strict)
            self._recordings = kept
        return self._recordings

    def split(self, name: str) -> list[Recording]:
        """The recordings of a split; those of `valid` may be none.

        Raises:
            ValueError: there are none to train on.
        """
        chosen = [recording for recording in self.recordings if recording.split == name]
        if name == "train":
            check_any_to_train_on(len(chosen), self._places)
        return chosen

    def unmeasured(self) -> str | None:
        """Why nothing can be measured; None where a recording is held out."""
        return None if self.split("valid") else f"no recording of {self._places} is held out"

    def train_dataloader(self) -> DataLoader:
        data = CropDataset(self.split("train"), self.seconds, self.sample_rate, self.seed, self._report)
        return self._loader(data, self.crops_per_epoch)

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        if reason := self.unmeasured():
            return no_validation(reason, self.trainer)
        data = CropDataset(self.split("valid"), self.seconds, self.sample_rate, -1, self._report)
        return self._loader(data, self.validation_crops, fixed=True)

    @property
    def _places(self) -> str:
        return ", ".join(map(shown, self.audio if isinstance(self.audio, list) else [self.audio]))

    def _loader(self, data: CropDataset, count: int, *, fixed: bool = False) -> DataLoader:
        return ResumableLoader(
            data,
            batch_size=self.batch_size,
            sampler=range(count) if fixed else ResumableSampler(count, self),
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            drop_last=not fixed,
        )


def run_report(trainer: lightning.Trainer | None, *, strict: bool) -> Report:
    """The report of a training run, in its folder. Of several processes, one writes it."""
    if trainer is None:
        return Report(strict=strict)
    return Report(Path(trainer.default_root_dir), strict=strict, silent=not trainer.is_global_zero)
