"""Sound to standard output while it is made: `musiclm generate ... --out - | aplay`."""

import io
import sys
import wave
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Literal

from torch import Tensor

StreamFormat = Literal["wav", "raw"]  # raw: 16-bit little-endian samples, mono, and nothing else


def check_pipe() -> None:
    """Raise one clear line where sound would be written to a terminal."""
    if sys.stdout is None:
        raise ValueError("expected a pipe or a file behind --out -, standard output is closed")
    if sys.stdout.isatty():
        raise ValueError(
            "expected a pipe behind --out -, standard output is a terminal: "
            'musiclm generate "a calm violin" --out - | aplay'
        )


@contextmanager
def writing_to_pipe(
    sample_rate: int, length: int, kind: StreamFormat = "wav"
) -> Iterator[Callable[[Tensor], None]]:
    """A function that writes blocks [1, l] to standard output at once, `length` samples in all.

    What is printed meanwhile goes to standard error.

    Raises:
        BrokenPipeError: the reader has heard enough and closed the pipe.
    """
    sound = sys.stdout.buffer
    before = [wav_header(sample_rate, length)] if kind == "wav" else []

    def write(block: Tensor) -> None:
        # As libsndfile does it, so that a pipe carries what a file would hold: to 32 bits, of which 16 stay.
        samples = ((block[0].double() * 2**31).round() / 2**16).floor().clamp(-(2**15), 2**15 - 1)
        sound.write(b"".join([*before, samples.numpy().astype("<i2").tobytes()]))
        before.clear()
        sound.flush()

    with redirect_stdout(sys.stderr):
        yield write


def wav_header(sample_rate: int, length: int) -> bytes:
    """What stands before `length` mono samples of 16 bits in a WAV file: 44 bytes."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, sample_rate, length, "NONE", ""))
        file.writeframesraw(
            b""
        )  # which writes the header; closing would put right what it says of the length
        return content.getvalue()
