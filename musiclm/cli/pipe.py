"""Sound to standard output while it is made: `musiclm generate ... --out - | aplay`."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Literal

from torch import Tensor

from musiclm.audio.pcm import pcm, wav_header

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
        sound.write(b"".join([*before, pcm(block)]))
        before.clear()
        sound.flush()

    with redirect_stdout(sys.stderr):
        yield write
