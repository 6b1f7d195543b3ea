"""What the tests' child processes do in the place of a model: in a module of its own, imported in no time."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from musiclm.generation.request import Request

RATE = 24_000
BLOCK = b"\x01\x00" * (RATE // 10)  # a tenth of a second


class Slow:
    """Makes its sound in half of its time, or as the prompt says."""

    def __call__(self, asked: Request, tell: Callable[[Any], None]) -> None:
        assert isinstance(asked.prompt, str)
        if "refuse" in asked.prompt:
            raise ValueError("expected something else\nthan this")
        if "die" in asked.prompt:
            os.kill(os.getpid(), signal.SIGKILL)
        if "hang" in asked.prompt:
            time.sleep(60)
        while "talk" in asked.prompt:  # without a pause
            tell(("progress", "talk", 1, 2))
        blocks = round(asked.new_seconds * 10)
        tell(("notice", f"a notice of {asked.prompt}"))
        tell(("begins", RATE, blocks * RATE // 10, "f00d"))
        for number in range(blocks):
            tell(("progress", "blocks", number, blocks))
            time.sleep(0 if "quick" in asked.prompt else 0.05)
            tell(("sound", BLOCK))


class Reads:
    """Takes any upload for a second of sound, but for poison."""

    def __call__(self, asked: tuple[Path, Path], tell: Callable[[Any], None]) -> None:
        upload, place = asked
        content = upload.read_bytes()
        if content == b"poison":
            os.kill(os.getpid(), signal.SIGKILL)
        if content == b"text":
            raise ValueError(f"expected audio, {upload} is text")
        place.write_bytes(content)
        tell(("read", 1.0))


def none() -> None:
    """No work at all."""
    raise ValueError("expected a bundle, there is none")
