"""Files of whatever format as samples, a stretch at a time; the content decides what a file is, not its name.

libsndfile decodes what it knows, and ffmpeg the rest, where it is installed.
"""

import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol, Self

import numpy as np
import soundfile

from musiclm.audio.ffmpeg import Ffmpeg, foreign_format
from musiclm.audio.quiet import quiet_libraries
from musiclm.files import shown

CHUNK = 4096  # frames that libsndfile is asked for at once: what a damaged place costs, at least
SKIPS = 12  # doublings of CHUNK, over which a place is searched that decodes again
MIN_RATE, MAX_RATE = 1_000, 1_000_000  # Hz; a header that says anything else is wrong
UNKNOWN_SIZE = 2**31 - 2**16  # bytes; headers of files that were written to a pipe say this or more
TRAILER = 0.25  # of a file's bytes; more behind what the header counts is sound that is left out
BEGINNING = 512  # bytes by which a format is told
# What libsndfile logs of a size in the header that the file does not have.
CLAIMED = re.compile(r"^\s*\S.*?: (\d+) \(should be (\d+)\)", re.MULTILINE)


class Decoder(Protocol):
    """An open file of audio."""

    sample_rate: int
    channels: int
    frames: int | None  # as the header says; None where it does not
    damaged: int  # frames that did not decode, so far

    @property
    def overstated(self) -> float:
        """The header's length over `frames`, where the decoder has corrected it; else 1."""

    def doubts(self) -> list[str]:
        """What is odd about the file, once it has been read to its end."""

    def read(self, frames: int) -> np.ndarray:
        """The next `frames` frames [l, C], float32; fewer at the end."""

    def seek(self, frame: int) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Errors that name the file."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"expected an audio file, but {shown(path)} cannot be read: {error}") from None
    except OSError as error:
        raise OSError(
            f"expected an audio file, but {shown(path)} cannot be read: {error.strerror or error}"
        ) from None


def regular_file(path: Path) -> os.stat_result:
    """The status of a regular file; nothing else is opened, since a pipe would wait for a writer."""
    try:
        status = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        raise FileNotFoundError(f"expected an audio file, found nothing at {shown(path)}") from None
    except OSError as error:
        raise OSError(f"expected an audio file, but {shown(path)} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "a folder" if stat.S_ISDIR(status.st_mode) else "a pipe, socket or device"
        raise OSError(f"expected an audio file, {shown(path)} is {kind}")
    return status


def open_decoder(path: Path) -> Decoder:
    """The decoder of a regular file, by its content; in a `with` statement, it is closed at the end.

    Raises:
        OSError, ValueError: why it cannot be read, without its name (`naming` adds it).
    """
    with path.open("rb") as file:
        beginning = file.read(BEGINNING)
    foreign = foreign_format(beginning)
    if foreign and not shutil.which("ffmpeg"):
        raise ValueError(f"{foreign} needs ffmpeg, which is not installed")
    decoder: Decoder
    if foreign:
        decoder = Ffmpeg(path)
    else:
        try:
            decoder = Libsndfile(path)
        except soundfile.LibsndfileError:
            decoder = _other(path, beginning)
    if not MIN_RATE <= decoder.sample_rate <= MAX_RATE:
        with decoder:
            raise ValueError(
                f"its header says {decoder.sample_rate:,} Hz, expected {MIN_RATE:,} to {MAX_RATE:,} Hz"
            )
    return decoder


def _other(path: Path, beginning: bytes) -> Decoder:
    """A decoder of what libsndfile does not open, though it does not look like another format."""
    if not beginning:
        raise ValueError("it is empty")
    # Text may be a playlist, which names other files: never given to ffmpeg.
    if not any(byte < 9 or 13 < byte < 32 for byte in beginning):
        raise ValueError("it is text, not audio")
    if not shutil.which("ffmpeg"):
        raise ValueError("its content is no audio, or broken")
    return Ffmpeg(path)


class Libsndfile:
    """A file that libsndfile decodes: wav, flac, ogg, opus, mp3, aiff, caf, w64, au, ...

    Where a stretch of it is damaged, silence is read in its place.

    Raises:
        soundfile.LibsndfileError: it does not know the format.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.damaged = 0  # frames of silence that were read
        self._open()
        self.sample_rate: int = self._file.samplerate
        self.channels: int = self._file.channels
        self.frames: int | None = self._file.frames

    @property
    def overstated(self) -> float:
        """The header's length over the true one; 1 where it is right, or does not say."""
        sizes = [(int(said), int(found)) for said, found in CLAIMED.findall(self._file.extra_info)]
        return max((said / found for said, found in sizes if found and said < UNKNOWN_SIZE), default=1.0)

    def doubts(self) -> list[str]:
        """Whether the file goes on behind what its header counts."""
        size = os.fstat(self._descriptor).st_size
        left = size - os.lseek(self._descriptor, 0, os.SEEK_CUR)
        if left <= TRAILER * size:
            return []
        return [f"its last {left:,} bytes are not read: they are damaged, or its header counts too few"]

    def read(self, frames: int) -> np.ndarray:
        """The next `frames` frames [l, C], float32; fewer at the end."""
        out = np.zeros((frames, self.channels), np.float32)
        done = 0
        with quiet_libraries():
            while done < frames:
                try:
                    got = self._read_or_skip(out[done : done + CHUNK])
                except soundfile.LibsndfileError:
                    if not self._skip_damage():
                        break
                    continue
                if got == 0:
                    break
                done += got
                self.position += got
        return out[:done]

    def seek(self, frame: int) -> None:
        """Go to a frame, by decoding all before it where the file allows no other way."""
        if frame == self.position or self._sought(frame):
            return
        self._close()
        self._open()
        while self.position < frame and len(self.read(min(frame - self.position, CHUNK))):
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def _close(self) -> None:
        self._file.close()
        os.close(self._descriptor)

    def _open(self) -> None:
        self._descriptor = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            with quiet_libraries():  # by descriptor: libsndfile would believe the ending of a name
                self._file = _Stream(self._descriptor, closefd=False)
        except BaseException:
            os.close(self._descriptor)
            raise
        self.position = 0
        self._silence = 0  # frames to be read in place of a damaged stretch

    def _read_or_skip(self, out: np.ndarray) -> int:
        """Read into `out` [l, C], zeros before: how many frames."""
        if self._silence:
            skipped = min(self._silence, len(out))
            self._silence -= skipped
            return skipped
        try:
            return len(self._file.read(dtype="float32", always_2d=True, out=out))
        except soundfile.LibsndfileError:
            out[:] = 0
            raise

    def _sought(self, frame: int) -> bool:
        with quiet_libraries():
            try:
                self.position = self._file.seek(frame)
            except soundfile.LibsndfileError:
                return False
        self._silence = 0
        return self.position == frame

    def _skip_damage(self) -> bool:
        """Go on behind a damaged place, and let silence be read up to there; False where nothing decodes."""
        place = self.position
        for doubling in range(SKIPS):
            behind = place + (CHUNK << doubling)
            if behind >= (self.frames or 0):
                break
            self._close()  # after an error, libsndfile's decoders stay where they are
            self._open()
            if self._sought(behind):
                self.position, self._silence = place, behind - place
                self.damaged += self._silence
                return True
        self.position = place
        return False


class _Stream(soundfile.SoundFile):
    """A SoundFile that does not seek after every read, as soundfile does: broken files fail at that."""

    def seekable(self) -> bool:
        return False
