"""Audio: a waveform with its sample rate; reading, writing, resampling. What users hold in their hands."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from musiclm.audio.checks import mono_weights
from musiclm.audio.inspection import Stretch, inspect
from musiclm.audio.resampling import resample, resample_blocks, resampled_length
from musiclm.files import replacing, temporary_beside

# Where a WAV file keeps what we say about it (RIFF INFO chunk, written by libsndfile).
METADATA_FIELDS = ("title", "comment", "software", "copyright")
ENDINGS = (".wav", ".flac", ".aiff")
FORMATS = ("WAV", "FLAC", "AIFF")  # those that keep 16 bits and metadata


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
        """The mean of the channels, [1, L]; the loudest alone where they cancel each other."""
        weights = torch.from_numpy(mono_weights(self.waveform.detach().cpu().numpy().T)).to(
            self.waveform
        )  # [C]
        return Audio((weights @ self.waveform)[None], self.sample_rate)

    def resample(self, sample_rate: int) -> "Audio":
        """The same sound at `sample_rate` Hz, ceil(L * ratio) samples."""
        return Audio(resample(self.waveform, self.sample_rate, sample_rate), sample_rate)

    @classmethod
    def load(cls, path: str | Path, *, start: float = 0.0, seconds: float | None = None) -> "Audio":
        """Read a file (wav, flac, ogg, mp3, ...; m4a, wma, ... by ffmpeg), or `seconds` of it from `start`.

        Whatever the file holds, samples are finite and within 12 dB of full scale
        (`musiclm/audio/checks.py`).

        Raises:
            FileNotFoundError: there is no such file.
            OSError: it cannot be opened, or is no file.
            ValueError: it is not audio, or none that can be used.
        """
        stretch = Stretch.of(path, start, seconds)
        samples = np.zeros((stretch.found.channels, stretch.frames), np.float32)  # [C, L]
        place = 0
        for block in stretch.blocks():  # [l, C]
            samples[:, place : place + len(block)] = block.T
            place += len(block)
        return cls(torch.from_numpy(samples[:, :place]), stretch.found.sample_rate)

    @classmethod
    def load_mono(
        cls,
        path: str | Path,
        sample_rate: int,
        *,
        start: float = 0.0,
        seconds: float | None = None,
        warn: Callable[[str], None] | None = None,
    ) -> "Audio":
        """`load(path).mono().resample(sample_rate)` block by block: the outcome alone takes memory.

        Two hours of 48 kHz stereo are 2.8 GB as float32, and as mono at 24 kHz 0.7 GB.

        Args:
            path: the file.
            sample_rate: Hz, of the outcome.
            start: second of the file to begin at.
            seconds: how much of it; None reads to the end.
            warn: is called with a line for each fault that was mended, or that will be heard.

        Raises:
            FileNotFoundError, OSError, ValueError: as `load`.
        """
        stretch = Stretch.of(path, start, seconds)
        rate = stretch.found.sample_rate
        out = np.zeros((1, resampled_length(stretch.frames, rate, sample_rate)), np.float32)
        mono = (stretch.found.repair.mono(block) for block in stretch.blocks(warn))
        resample_blocks(mono, rate, sample_rate, out=out[0])
        return cls(torch.from_numpy(out[:, : resampled_length(stretch.read, rate, sample_rate)]), sample_rate)

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

    try:
        with (
            replacing(path) as temporary,
            soundfile.SoundFile(str(temporary), "w", sample_rate, channels, "PCM_16", format=kind) as file,
        ):
            for field, value in (metadata or {}).items():
                setattr(file, field, value)
            yield lambda block: file.write(block.T.cpu().numpy())  # [l, C]
    except soundfile.LibsndfileError as error:
        raise OSError(f"expected room for the output, {path} cannot be written: {error}") from None


def seconds_of(path: str | Path) -> float:
    """Length of what decodes of a file. Raises as `inspect` does."""
    return inspect(path).seconds


def check_writable(path: Path, *, endings: Sequence[str] = ENDINGS) -> None:
    """Raise one clear line if nothing could be written at `path`; used before long work begins.

    Args:
        path: of the file.
        endings: that its name may have; audio's by default.
    """
    if path.is_dir():
        raise IsADirectoryError(f"expected a file name for the output, {path} is a folder")
    if path.suffix.lower() not in endings:
        raise ValueError(f"expected a file name ending in {' or '.join(endings[:2])}, got {path.name!r}")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"expected an existing folder for the output, {path.parent} is none; make it first"
        )
    try:  # by trying: what os.access says does not hold for root, nor on every file system
        with temporary_beside(path) as temporary:
            temporary.touch()
    except OSError as error:
        raise PermissionError(f"expected a writable place for the output, {path} is none: {error}") from None
