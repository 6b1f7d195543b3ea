"""Audio: a waveform with its sample rate; reading, writing, resampling. What users hold in their hands."""

import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

# Where a WAV file keeps what we say about it (RIFF INFO chunk, written by libsndfile).
METADATA_FIELDS = ("title", "comment", "software", "copyright")
FORMATS = ("WAV", "FLAC", "AIFF")  # those that keep 16 bits and metadata
BLOCK = 2**20  # samples that a long file is read by
# torchaudio's filter spans 6 zero crossings a side of the lower rate, 6 / 0.99 periods of the reduced ratio.
RESAMPLING_PERIODS = 7


@dataclass(frozen=True)
class Audio:
    """A waveform of shape [C, L], float32 in [-1, 1], at `sample_rate` Hz."""

    waveform: Tensor
    sample_rate: int

    def __post_init__(self) -> None:
        if self.waveform.ndim != 2:
            raise ValueError(f"expected a waveform of shape [C, L], got {list(self.waveform.shape)}")

    @property
    def seconds(self) -> float:
        return self.waveform.shape[-1] / self.sample_rate

    def mono(self) -> "Audio":
        """The mean of the channels: [1, L]."""
        return Audio(self.waveform.mean(dim=0, keepdim=True), self.sample_rate)

    def resample(self, sample_rate: int) -> "Audio":
        """The same sound at `sample_rate` Hz (windowed-sinc interpolation)."""
        if sample_rate == self.sample_rate:
            return self
        from torchaudio.functional import resample

        return Audio(resample(self.waveform, self.sample_rate, sample_rate), sample_rate)

    @classmethod
    def load(cls, path: str | Path, *, start: float = 0.0, seconds: float | None = None) -> "Audio":
        """Read a file that libsndfile knows (wav, flac, ogg, mp3, …), or `seconds` of it from `start`.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not audio.
        """
        with _opened(path) as file:
            rate = file.samplerate
            file.seek(min(round(start * rate), file.frames))
            frames = -1 if seconds is None else round(seconds * rate)
            samples = file.read(frames, dtype="float32", always_2d=True)  # [L, C]
        return cls(torch.from_numpy(samples.T.copy()), rate)

    @classmethod
    def load_mono(cls, path: str | Path, sample_rate: int) -> "Audio":
        """`load(path).mono().resample(sample_rate)` block by block: the outcome alone takes memory.

        Two hours of 48 kHz stereo are 2.8 GB as float32, and as mono at 24 kHz 0.7 GB.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is not audio.
        """
        import numpy as np

        with _opened(path) as file:
            ratio = Fraction(sample_rate, file.samplerate)
            margin = RESAMPLING_PERIODS * ratio.denominator
            step = margin * max(BLOCK // margin, 3)
            whole = torch.zeros(1, math.ceil(file.frames * ratio))
            end = 0  # samples of the file read so far
            context = np.zeros((0, file.channels), dtype=np.float32)  # the last of them
            while len(fresh := file.read(step, dtype="float32", always_2d=True)):  # [l, C]
                block = np.concatenate([context, fresh])
                begin, end = end - len(context), end + len(fresh)
                piece = cls(torch.from_numpy(block.T), file.samplerate).mono().resample(sample_rate)
                # The block's last samples lack what follows: the next block writes over them.
                first = margin if begin else 0
                own = piece.waveform[:, int(first * ratio) :]
                place = int((begin + first) * ratio)
                whole[:, place : place + own.shape[1]] = own
                context = block[-2 * margin :]
        return cls(whole[:, : math.ceil(end * ratio)], sample_rate)

    def save(self, path: str | Path, metadata: Mapping[str, str] | None = None) -> Path:
        """Write a file whose format the suffix names (16-bit wav, flac, …), whole or not at all.

        Args:
            path: where; the folder must exist.
            metadata: title, comment, software or copyright, kept inside the file.

        Raises:
            FileNotFoundError: the folder does not exist.
            ValueError: the suffix names no audio format, or the metadata has an unknown field.
        """
        with writing(path, self.sample_rate, metadata, channels=self.waveform.shape[0]) as write:
            write(self.waveform)
        return Path(path)


@contextmanager
def writing(
    path: str | Path, sample_rate: int, metadata: Mapping[str, str] | None = None, *, channels: int = 1
) -> Iterator[Callable[[Tensor], None]]:
    """A function that appends blocks [C, l] to a file, which is there when the `with` block ends well.

    The arguments and what is raised are those of `Audio.save`.
    """
    import soundfile

    path = Path(path)
    check_writable(path)
    unknown = set(metadata or {}) - set(METADATA_FIELDS)
    if unknown:
        raise ValueError(f"metadata fields are {', '.join(METADATA_FIELDS)}; got {sorted(unknown)}")
    kind = path.suffix[1:].upper()

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with soundfile.SoundFile(str(temporary), "w", sample_rate, channels, "PCM_16", format=kind) as file:
            for field, value in (metadata or {}).items():
                setattr(file, field, value)
            yield lambda block: file.write(block.T.cpu().numpy())  # [l, C]
        temporary.replace(path)
    except soundfile.LibsndfileError as error:
        raise OSError(f"expected room for the output, {path} cannot be written: {error}") from None
    finally:
        temporary.unlink(missing_ok=True)


def seconds_of(path: str | Path) -> float:
    """Length of a file of audio, by what it says of itself.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: the file is not audio.
    """
    with _opened(path) as file:
        return file.frames / file.samplerate


def check_writable(path: Path) -> None:
    """Raise one clear line if audio could not be written at `path`; used before long work begins."""
    if path.is_dir():
        raise IsADirectoryError(f"expected a file name for the output, {path} is a folder")
    if path.suffix[1:].upper() not in FORMATS:
        raise ValueError(f"expected a file name ending in .wav or .flac, got {path.name!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"expected an existing folder for the output, {path.parent} is none; make it first"
        )
    try:  # by trying: what os.access says does not hold for root, nor on every file system
        temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        temporary.touch()
        temporary.unlink()
    except OSError as error:
        raise PermissionError(f"expected a writable place for the output, {path} is none: {error}") from None


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """The `soundfile.SoundFile` of a path, with one line for what is none."""
    import soundfile

    if not Path(path).is_file():
        raise FileNotFoundError(f"expected an audio file, found nothing at {path}")
    try:
        with soundfile.SoundFile(str(path)) as file:
            yield file
    except soundfile.LibsndfileError as error:
        raise ValueError(f"expected an audio file, but {path} cannot be read: {error}") from None
