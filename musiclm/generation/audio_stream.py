"""The music as it is heard: blocks of sound as they are decoded, after the audio prompt, and their end."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.generation.audio_prompt import AudioPrompt
from musiclm.generation.block_decoding import finish
from musiclm.generation.course import Course


class AudioStream:
    """N samples on their way to sound: iterate for blocks [N, 1, l] on the CPU, `length` samples long in all.

    Args:
        blocks: [N, 1, l] of new music, as an acoustic decoder makes them.
        num: N.
        length: new samples.
        sample_rate: in Hz.
        prompt: what the new music goes on from; the stream begins with it.
        joint_length: samples at the prompt's end that the first blocks hold, cross-faded.
        courses: what the samples are to be over time, where the model follows a score.
    """

    def __init__(
        self,
        blocks: Iterator[Tensor],
        *,
        num: int,
        length: int,
        sample_rate: int,
        prompt: AudioPrompt | None = None,
        joint_length: int = 0,
        courses: Sequence[Course] = (),
    ) -> None:
        self.blocks = blocks
        self.num = num
        self.sample_rate = sample_rate
        self.prompt = prompt
        self.joint_length = joint_length
        self.courses = courses
        self.length = length + (0 if prompt is None else prompt.audio.waveform.shape[1])

    def __iter__(self) -> Iterator[Tensor]:
        emitted = 0
        if self.prompt is not None:
            # Its very end comes with the music that is faded in over it.
            waveform = self.prompt.audio.waveform
            block = waveform[:, : waveform.shape[1] - self.joint_length].expand(self.num, 1, -1)
            emitted = block.shape[2]
            yield block
        for block in self.blocks:
            block = block[:, :, : self.length - emitted].cpu()
            emitted += block.shape[2]
            if block.shape[2]:
                yield finish(block, last=emitted == self.length, rate=self.sample_rate)

    def listen(self) -> list[Audio]:
        """Every sample whole."""
        waveforms = torch.empty(self.num, 1, self.length, device="cpu")
        place = 0
        for block in self:
            waveforms[:, :, place : place + block.shape[2]] = block
            place += block.shape[2]
        return [Audio(waveform, self.sample_rate) for waveform in waveforms]
