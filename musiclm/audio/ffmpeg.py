"""Decoding by the program ffmpeg, where there is one, of what libsndfile does not know: m4a, wma, ape, ...

ffmpeg writes an AU file of float32 to a pipe, whose header says rate and channels. It is read as it comes, so
that no more of it is held than is asked for.
"""

import os
import re
import selectors
import struct
import subprocess
import tempfile
from pathlib import Path
from typing import Self

import numpy as np

PATIENCE = 60.0  # seconds without a byte after which ffmpeg is given up
QUIETLY = ("ffmpeg", "-nostdin", "-v", "error", "-threads", "1")
TO_AU = ("-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1")
AU_HEADER = struct.Struct(">4sIIIII")  # magic, offset of the samples, their bytes, encoding, rate, channels
AU_FLOAT = 6  # the encoding float32, big-endian

# How files begin that ffmpeg knows and libsndfile does not: place in the file, bytes, name.
FOREIGN = (
    (4, b"ftyp", "MPEG-4 (m4a, mp4)"),
    (0, bytes.fromhex("3026b2758e66cf11"), "Windows Media (wma)"),
    (0, b"MAC ", "Monkey's Audio (ape)"),
    (0, b"wvpk", "WavPack"),
    (0, b"MPCK", "Musepack"),
    (0, b"MP+", "Musepack"),
    (0, b"TTA1", "True Audio"),
    (0, b"tBaK", "TAK"),
    (0, b"DSD ", "DSD"),
    (0, b"FRM8", "DSD"),
    (0, bytes.fromhex("1a45dfa3"), "Matroska (mka, webm)"),
    (0, b"ADIF", "AAC"),
    (0, b"\xff\xf1", "AAC"),
    (0, b"\xff\xf9", "AAC"),
    (0, b"#!AMR", "AMR"),
    (0, b".RMF", "RealAudio"),
    (0, b"\x0b\x77", "AC-3"),
)


def foreign_format(beginning: bytes) -> str | None:
    """The name of a format that only ffmpeg reads, by the first bytes of a file."""
    return next((name for at, magic, name in FOREIGN if beginning[at:].startswith(magic)), None)


class Ffmpeg:
    """A file decoded by ffmpeg, from its beginning or from some second on.

    Raises:
        ValueError: ffmpeg finds no sound in the file.
        TimeoutError: ffmpeg is stuck.
    """

    frames: int | None = None  # not known until all is decoded
    damaged = 0  # what ffmpeg cannot decode, it leaves out
    overstated = 1.0

    def __init__(self, path: Path) -> None:
        self.path = path
        self.position = 0
        self._start(0.0)

    def _start(self, second: float) -> None:
        # "file:" and the protocols allowed see to it that a name is no address, and a playlist leads nowhere.
        source = b"file:" + os.fsencode(self.path.absolute())
        begin = ["-ss", f"{second:.6f}"] if second else []
        self._messages = tempfile.TemporaryFile()  # noqa: SIM115 (closed by _close)
        self._process = subprocess.Popen(
            [*QUIETLY, *begin, "-protocol_whitelist", "file", "-i", source, *TO_AU],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self._messages,
            bufsize=0,
        )
        try:
            self._read_header()
        except BaseException:
            self._close()
            raise

    def _read_header(self) -> None:
        header = self._read_bytes(AU_HEADER.size)
        if len(header) < AU_HEADER.size:
            raise ValueError(f"ffmpeg finds no sound in it: {self._said() or 'it does not say why'}")
        magic, begin, _, encoding, self.sample_rate, self.channels = AU_HEADER.unpack(header)
        if (magic, encoding) != (b".snd", AU_FLOAT):
            raise ValueError("ffmpeg answers in an unknown form: install another version")
        self._read_bytes(begin - AU_HEADER.size)

    def doubts(self) -> list[str]:
        """What ffmpeg complained of, at last."""
        said = self._said()
        return [f"ffmpeg: {said}"] if said else []

    def read(self, frames: int) -> np.ndarray:
        """The next `frames` frames [l, C], float32; fewer at the end."""
        content = self._read_bytes(4 * self.channels * frames)
        whole = len(content) // (4 * self.channels)
        self.position += whole
        samples = np.frombuffer(content, ">f4", count=whole * self.channels).astype(np.float32)
        return samples.reshape(whole, self.channels)

    def seek(self, frame: int) -> None:
        """Go to a frame: ffmpeg starts again there."""
        if frame != self.position:
            self._close()
            self._start(frame / self.sample_rate)
            self.position = frame

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def _close(self) -> None:
        """End ffmpeg, whatever it is at."""
        self._process.kill()
        self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._messages.close()

    def _read_bytes(self, count: int) -> bytes:
        """The next `count` bytes, fewer at the end."""
        pipe = self._process.stdout
        assert pipe is not None
        pieces, missing = [], count
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while missing:
                if not selector.select(PATIENCE):
                    raise TimeoutError(f"ffmpeg gave nothing for {PATIENCE:g} s")
                piece = os.read(pipe.fileno(), missing)
                if not piece:
                    break
                pieces.append(piece)
                missing -= len(piece)
        return b"".join(pieces)

    def _said(self) -> str:
        """The last line that ffmpeg has said, once all that it gives was read."""
        self._process.wait(PATIENCE)
        self._messages.seek(0)
        lines = self._messages.read().decode(errors="replace").splitlines()
        said = [line.strip() for line in lines if line.strip()]
        # "[mov @ 0x55b4a8dcfa00] " or the path stand before it.
        return re.sub(r"^\[[^]]*\] |^file:.*: ", "", said[-1]) if said else ""
