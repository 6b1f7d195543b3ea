"""Takes made audible: blocks of sound as their codes are drawn, and their end."""

from collections.abc import Iterator

import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.clip import Clip
from musiclm.sound import BlockDecoder, finish, joint_frames
from musiclm.tokenizers.protocols import AcousticTokenizer
from musiclm.windows import Takes


class Performance:
    """N takes on their way to sound: iterate for blocks [N, 1, l], `length` samples in all.

    Args:
        takes: draws the codes.
        acoustic: decodes them.
        length: new samples.
        context: frames of codes that the decoder sees on either side of a block.
        clip: what the new samples go on from; the first block is the clip.
    """

    def __init__(
        self,
        takes: Takes,
        acoustic: AcousticTokenizer,
        length: int,
        *,
        context: int,
        clip: Clip | None = None,
    ) -> None:
        self.takes = takes
        self.acoustic = acoustic
        self.context = context
        self.clip = clip
        self.num = len(takes.generators)
        self.sample_rate = acoustic.sample_rate
        self.length = length + (0 if clip is None else clip.audio.waveform.shape[1])

    def __iter__(self) -> Iterator[Tensor]:
        emitted = 0
        if self.clip is not None:
            # Its very end comes with the music that is faded in over it.
            joint = joint_frames(self.acoustic) * self.acoustic.hop_length
            block = self.clip.audio.waveform[:, :-joint].expand(self.num, 1, -1)
            emitted = block.shape[2]
            yield block
        for block in self._decoded():
            block = block[:, :, : self.length - emitted]
            emitted += block.shape[2]
            if block.shape[2]:
                yield finish(block, last=emitted == self.length, rate=self.sample_rate)

    def listen(self) -> list[Audio]:
        """Every take whole."""
        waveforms = torch.empty(self.num, 1, self.length)
        place = 0
        for block in self:
            waveforms[:, :, place : place + block.shape[2]] = block
            place += block.shape[2]
        return [Audio(waveform, self.sample_rate) for waveform in waveforms]

    @torch.inference_mode()
    def _decoded(self) -> Iterator[Tensor]:
        """Blocks [N, 1, l] of whole frames, take by take: what is decoded in a batch may round otherwise."""
        decoders = [self._decoder() for _ in range(self.num)]
        frames = self.takes.frames - self.takes.frames_before
        for codes in self.takes.blocks():  # [N, 12, t]
            frames -= codes.shape[2]
            rows = zip(decoders, codes.split(1), strict=True)
            yield torch.cat([decoder(row, last=frames == 0) for decoder, row in rows])

    def _decoder(self) -> BlockDecoder:
        if self.clip is None:
            return BlockDecoder(self.acoustic, self.context)
        return BlockDecoder.after(self.clip.end, self.acoustic, self.context)
