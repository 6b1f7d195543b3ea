"""What a recording really holds, found out before it is read; and reading it, mended, block by block.

Headers are not believed: a recording is as long as what decodes of it. Its end is tried, and all of it is
decoded only where the end is not where the header says.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path

import numpy as np

from musiclm.audio.checks import BROKEN, BROKEN_SHARE, TOO_MANY_BROKEN, Repair, measure
from musiclm.audio.decoding import (
    CHUNK,
    Decoder,
    naming,
    open_decoder,
    regular_file,
)
from musiclm.files import shown

BLOCK = 2**20  # samples of all channels that a long file is read by
SHORTEST = 0.1  # seconds; a shorter recording is of no use to anything
LOOKED_AT = 2**16  # frames of a recording that are looked at, all of a shorter one
STRETCHES = 8  # that they are taken in
UNKNOWN_FRAMES = 2**40  # libsndfile says this or more of a flac file that was written to a pipe
OVERSTATED = 1.01  # header's length over the true one; codecs' padding makes less
DAMAGED_SHARE = 0.1  # of the frames: a recording with more that does not decode is not used


@dataclass(frozen=True)
class AudioInfo:
    """What a file of audio holds.

    Args:
        seconds: that decode, whatever the header says.
        sample_rate: Hz.
        channels: their number.
        warnings: a line for each fault that is mended when the file is read, or that will be heard.
    """

    seconds: float
    sample_rate: int
    channels: int
    warnings: tuple[str, ...] = ()


def inspect(path: str | Path) -> AudioInfo:
    """What a file holds, by its header, its end, and a second or two from all over it.

    It is decoded whole only where the header is wrong about the length, and where ffmpeg decodes it.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be opened, or is no file.
        ValueError: it is not audio, none that can be used, or shorter than 0.1 s.
    """
    found = probe(path)
    seconds = found.frames / found.sample_rate
    if seconds < SHORTEST:
        raise ValueError(
            f"expected a recording of {SHORTEST:g} s or more, {shown(path)} lasts {seconds:.2g} s "
            f"(samples: {found.frames:,})"
        )
    return AudioInfo(seconds, found.sample_rate, found.channels, found.warnings)


@dataclass(frozen=True)
class Probe:
    """What is known of a recording before it is read: how long it is, and what must be mended."""

    frames: int
    sample_rate: int
    channels: int
    repair: Repair
    warnings: tuple[str, ...]


def probe(path: str | Path) -> Probe:
    """Look at a file's end and at some stretches of it; the answer is kept while the file stays the same.

    Raises:
        FileNotFoundError: there is no such file.
        OSError: it cannot be opened, or is no regular file.
        ValueError: it is no audio, or none that can be used.
    """
    path = Path(path)
    status = regular_file(path)
    with naming(path):
        return _probe(path, status.st_mtime_ns, status.st_size, status.st_ino)


@dataclass
class Stretch:
    """Some frames of a file, to be read once."""

    path: Path
    found: Probe
    first: int
    frames: int
    read: int = field(default=0, init=False)  # frames, so far

    @classmethod
    def of(cls, path: str | Path, start: float, seconds: float | None) -> "Stretch":
        """From second `start` on, `seconds` of a file, or all there is. Raises as `probe` does."""
        found = probe(path)
        first = min(round(start * found.sample_rate), found.frames)
        frames = found.frames - first
        if seconds is not None:
            frames = min(frames, round(seconds * found.sample_rate))
        return cls(Path(path), found, first, frames)

    def blocks(self, warn: Callable[[str], None] | None = None) -> Iterator[np.ndarray]:
        """Blocks [l, C] of mended samples; `warn` is called with a line for each fault.

        Raises:
            ValueError: too much of a whole file cannot be mended.
        """
        broken = 0
        step = max(BLOCK // self.found.channels, 1)
        with naming(self.path), open_decoder(self.path) as decoder:
            decoder.seek(self.first)
            while len(block := decoder.read(min(step, self.frames - self.read))):
                self.read += len(block)
                block, faults = self.found.repair.apply(block)
                broken += faults
                yield block
            self._judge(broken, decoder.damaged, warn)

    def _judge(self, broken: int, damaged: int, warn: Callable[[str], None] | None) -> None:
        """Warn of what was found when all was read, and refuse a whole file of which too much is lost."""
        warnings = list(self.found.warnings)
        if broken and BROKEN not in warnings:
            warnings.append(BROKEN)
        damaged += self.frames - self.read  # at the end, where a decoder has left out packets before
        if damaged:
            warnings.append(f"damaged: {damaged / self.found.sample_rate:.2g} s of it do not decode")
        if self.frames == self.found.frames:
            if broken > BROKEN_SHARE * self.frames * self.found.channels:
                raise ValueError(TOO_MANY_BROKEN)
            if damaged > DAMAGED_SHARE * self.frames:
                raise ValueError(f"{damaged / self.frames:.0%} of it are damaged")
        if warn is not None:
            for warning in warnings:
                warn(warning)


@lru_cache(maxsize=2**16)
def _probe(path: Path, _modified: int, size: int, _inode: int) -> Probe:
    with open_decoder(path) as decoder:
        frames, samples = _end(decoder), None
        if frames is None:
            frames, samples = _decode_whole(decoder)
        if frames == 0:
            raise ValueError(f"by its header it holds no samples (the file has {size:,} bytes)")
        warnings = decoder.doubts()
        if (claimed := _claimed(decoder, frames)) > OVERSTATED * frames:
            rate = decoder.sample_rate
            warnings.append(
                f"shorter than its header says: {frames / rate:.4g} s of {claimed / rate:.4g} s can be read"
            )
        repair = measure(_stretches(decoder, frames) if samples is None else samples)
    return Probe(frames, decoder.sample_rate, decoder.channels, repair, (*warnings, *repair.warnings))


def _end(decoder: Decoder) -> int | None:
    """How many frames there are, if the header is right about it."""
    if decoder.frames is None:
        return None
    last = min(decoder.frames, CHUNK)
    decoder.seek(decoder.frames - last)
    return decoder.frames if len(decoder.read(last)) == last and not decoder.damaged else None


def _decode_whole(decoder: Decoder) -> tuple[int, np.ndarray]:
    """How many frames can be decoded, and samples [l, C] of places all over them."""
    decoder.seek(0)
    frames, pieces = 0, [np.zeros((0, decoder.channels), np.float32)]
    while len(block := decoder.read(max(LOOKED_AT // decoder.channels, 1))):
        frames += len(block)
        pieces.append(block[: max(CHUNK // decoder.channels, 1)] if len(pieces) > STRETCHES else block)
    return frames, np.concatenate(pieces)


def _stretches(decoder: Decoder, frames: int) -> np.ndarray:
    """Samples [l, C] of places all over a recording."""
    if frames <= LOOKED_AT:
        decoder.seek(0)
        return decoder.read(frames)
    length = LOOKED_AT // STRETCHES
    pieces = []
    for place in np.linspace(0, frames - length, STRETCHES).astype(int).tolist():
        decoder.seek(place)
        pieces.append(decoder.read(length))
    return np.concatenate(pieces)


def _claimed(decoder: Decoder, frames: int) -> float:
    """How many frames the header says there are."""
    claimed = decoder.frames or 0
    return claimed if claimed != frames and claimed < UNKNOWN_FRAMES else frames * decoder.overstated
