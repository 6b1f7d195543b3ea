"""The music as it is heard: blocks of sound as they are decoded, after the audio prompt, and their end."""

from collections.abc import Iterable, Iterator, Sequence

import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.generation.audio_prompt import AudioPrompt
from musiclm.generation.block_decoding import finish
from musiclm.generation.course import Course


class AudioStream:
    """N samples on their way to sound: iterate for blocks [N, 1, l] on the CPU, `length` samples long in all.

    Args:
        blocks: [N, 1, l] as they are to be heard.
        num: N.
        length: samples in all.
        sample_rate: in Hz.
        courses: what the samples are to be over time, where the model follows a score.
    """

    def __init__(
        self,
        blocks: Iterable[Tensor],
        *,
        num: int,
        length: int,
        sample_rate: int,
        courses: Sequence[Course] = (),
    ) -> None:
        self.blocks = blocks
        self.num = num
        self.length = length
        self.sample_rate = sample_rate
        self.courses = courses

    def __iter__(self) -> Iterator[Tensor]:
        return iter(self.blocks)

    def listen(self) -> list[Audio]:
        """Every sample whole."""
        waveforms = torch.empty(self.num, 1, self.length, device="cpu")
        place = 0
        for block in self:
            waveforms[:, :, place : place + block.shape[2]] = block
            place += block.shape[2]
        return [Audio(waveform, self.sample_rate) for waveform in waveforms]


def finished(
    blocks: Iterable[Tensor],
    *,
    num: int,
    length: int,
    sample_rate: int,
    prompt: AudioPrompt | None,
    joint_length: int,
) -> Iterator[Tensor]:
    """Blocks [N, 1, l] as they are heard, after the audio prompt, on the CPU.

    Args:
        blocks: of new music, as an acoustic decoder makes them.
        num: N.
        length: samples in all, those of the prompt among them.
        sample_rate: in Hz.
        prompt: what the new music goes on from.
        joint_length: samples at the prompt's end that the first blocks hold, cross-faded.
    """
    emitted = 0
    if prompt is not None:
        # Its very end comes with the music that is faded in over it.
        waveform = prompt.audio.waveform
        block = waveform[:, : waveform.shape[1] - joint_length].expand(num, 1, -1)
        emitted = block.shape[2]
        yield block
    for block in blocks:
        block = block[:, :, : length - emitted].cpu()
        emitted += block.shape[2]
        if block.shape[2]:
            yield finish(block, last=emitted == length, rate=sample_rate)
