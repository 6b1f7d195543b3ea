"""Codes or latents to sound, block by block, so that no seam is heard where blocks meet."""

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from musiclm.machine.cpus import on_free_cpus
from musiclm.tokenizers.protocols import AcousticTokenizer, Autoencoder

Codec = AcousticTokenizer | Autoencoder

LIMIT = 0.9  # samples beyond are bent smoothly towards 1, so that nothing clips
FADE_SECONDS = 0.02  # at the end, where the music is cut wherever it is
JOINT_SECONDS = 0.1  # of the end of an audio prompt that the music after it is faded in over


class BlockDecoder:
    """Decodes frames, codes or latents, block by block with the context that their decoder needs.

    Frames near the end are held back until those after them are known, and decoded again then; the phase runs
    on from the first decoding, and over one hop the second is faded in.

    Args:
        acoustic: the codec, or the autoencoder.
        context: frames that its decoder sees on either side of a block.
    """

    def __init__(self, acoustic: Codec, context: int) -> None:
        self.acoustic = acoustic
        self.context = context
        self.frames: Tensor | None = None  # [B, Q or D, t]: context already emitted, then frames held back
        self.ready = 0  # frames of self.frames that are context
        self.prefix: Tensor | None = None  # [B, 1, t * hop]: what those frames were decoded to
        self.fade = acoustic.hop_length  # samples

    @classmethod
    def after(
        cls, prefix: Tensor, frames: Tensor, acoustic: Codec, context: int, *, joint: int | None = None
    ) -> "BlockDecoder":
        """A decoder that goes on from an audio prompt's end: its last `joint` frames are decoded first.

        It takes over the prompt's phases, so that the two can be cross-faded there without one cancelling the
        other.

        Args:
            prefix: waveform [1, 1, T * hop_length].
            frames: [1, Q or D, T] of it.
            acoustic, context: as of the class.
            joint: frames over which it is cross-faded; by default `joint_frames`.
        """
        decoder = cls(acoustic, context)
        joint = joint_frames(acoustic) if joint is None else joint
        decoder.frames = frames[:, :, -(context + joint) :]
        decoder.ready = decoder.frames.shape[2] - joint
        decoder.prefix = prefix[:, :, -decoder.frames.shape[2] * acoustic.hop_length :]
        decoder.fade = joint * acoustic.hop_length
        return decoder

    def __call__(self, frames: Tensor, *, last: bool) -> Tensor:
        """Waveform [B, 1, l] of the frames that will not change any more."""
        self.frames = frames if self.frames is None else torch.cat([self.frames, frames], dim=2)
        end = self.frames.shape[2] - (0 if last else self.context)
        if end <= self.ready:
            return torch.empty(frames.shape[0], 1, 0, device=frames.device)
        hop = self.acoustic.hop_length
        with on_free_cpus():
            waveform = self.acoustic.decode(self.frames, prefix=self.prefix)
        block = waveform[:, :, self.ready * hop : end * hop]
        if self.prefix is not None:
            # The same samples, as they were first decoded, or as they are in the audio prompt.
            before = self.prefix[:, :, self.ready * hop :][:, :, : min(self.fade, block.shape[2])]
            fade = torch.linspace(0, 1, before.shape[2], device=block.device)
            block[:, :, : len(fade)] = torch.lerp(before, block[:, :, : len(fade)], fade)
        start = max(end - self.context, 0)
        self.frames, self.prefix, self.ready = (
            self.frames[:, :, start:],
            waveform[:, :, start * hop :],
            end - start,
        )
        self.fade = hop
        return block


def decode_blocks(
    blocks: Iterable[Tensor],
    acoustic: Codec,
    context: int,
    *,
    rows: int,
    frames: int,
    prefix: Tensor | None,
    known: Tensor | None,
) -> Iterator[Tensor]:
    """Blocks of waveform [N, 1, l] for blocks of frames [N, Q or D, t].

    Sample by sample: what is decoded in a batch may round otherwise.

    Args:
        blocks: of the frames.
        acoustic, context: as of `BlockDecoder`.
        rows: N.
        frames: in all blocks together.
        prefix: waveform [1, 1, T * hop_length] of an audio prompt's end; `known` are its frames.
        known: see prefix.
    """
    decoders = [
        BlockDecoder(acoustic, context)
        if prefix is None or known is None
        else BlockDecoder.after(prefix, known, acoustic, context)
        for _ in range(rows)
    ]
    left = frames
    for block in blocks:
        left -= block.shape[2]
        pairs = zip(decoders, block.split(1), strict=True)
        yield torch.cat([decoder(row, last=left == 0) for decoder, row in pairs])


def joint_frames(acoustic: Codec, seconds: float = JOINT_SECONDS) -> int:
    """Frames at the end of an audio prompt over which what follows is faded in."""
    return round(seconds * acoustic.frame_rate)


def finish(block: Tensor, *, last: bool, rate: int) -> Tensor:
    """A block [N, 1, l] with its peaks bent below 1 and, where it is the last, its very end faded out."""
    excess = (block.abs() - LIMIT).clamp(min=0)
    room = 1 - LIMIT
    block = torch.where(excess > 0, block.sign() * (LIMIT + room * torch.tanh(excess / room)), block)
    if last:
        fade = min(round(FADE_SECONDS * rate), block.shape[-1])
        block[..., block.shape[-1] - fade :] *= torch.linspace(1, 0, fade, device=block.device)
    return block
