"""What the service's child processes do: make music, and read recordings."""

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from musiclm.audio import Audio
from musiclm.audio.pcm import pcm
from musiclm.generation.pipeline import MusicLM
from musiclm.generation.request import CONTINUE_SECONDS, Request, read_mono
from musiclm.machine.device import Device
from musiclm.notices import Notice


class MakesMusic:
    """Tells of a `Request`: ("progress", stage, done, total), ("begins", rate, samples), ("sound", bytes).

    Sound is mono of 16 bits, little-endian. ("notice", line) is what the user should know of the result.

    Args:
        bundle: the model.
        device: where it is.
    """

    def __init__(self, bundle: str, device: Device) -> None:
        self.model = MusicLM.from_pretrained(bundle, device=device)
        self.model.generate("warm up", seconds=1.0)  # what the first time alone takes

    def __call__(self, asked: Request, tell: Callable[[Any], None]) -> None:
        with told(tell):
            stream = self.model.perform(asked, lambda *progress: tell(("progress", *progress)))
            tell(("begins", stream.sample_rate, stream.length, self.model.fingerprint))
            for block in stream:
                tell(("sound", pcm(block[0])))


class ReadsRecordings:
    """Writes an upload anew as a WAV file that nothing need be afraid of: ("read", seconds).

    Args:
        sample_rate: of the model that it is for.
    """

    def __init__(self, sample_rate: int) -> None:
        torch.set_num_threads(1)
        self.sample_rate = sample_rate

    def __call__(self, asked: tuple[Path, Path], tell: Callable[[Any], None]) -> None:
        upload, place = asked
        with told(tell):
            audio = read_mono("recording", upload, self.sample_rate)
        most = CONTINUE_SECONDS[1]
        if audio.seconds > most:
            raise ValueError(
                f"expected a recording of at most {most:g} s, got {audio.seconds:.4g} s: cut it first"
            )
        Audio(audio.waveform.clamp(-1, 1), audio.sample_rate).save(place)
        tell(("read", audio.seconds))


@contextmanager
def told(tell: Callable[[Any], None]) -> Iterator[None]:
    """Tell what is noticed, once each; other warnings are nobody's."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    lines = [str(each.message) for each in caught if issubclass(each.category, Notice)]
    for line in dict.fromkeys(lines):
        tell(("notice", line))
