"""Coding while the sound arrives: the codec chunk by chunk, equal to the codec on the whole.

    with codec.streaming() as stream:
        for chunk in chunks:                        # [B, 1, n], any n
            codes = stream.encode(chunk)            # [B, Q, t], what is certain by now
            waveform = stream.decode(codes)         # [B, 1, m]
        codes = stream.encode(rest, last=True)      # all that was still held back
        waveform = stream.decode(codes, last=True)

A layer that sees several samples at once keeps the ones that its next outputs still need, and gives out what
no later sample can change; that is all the state there is. It lives in closures around the trunk's modules,
made by their `stream()`, and never in the modules: the ordinary forward pass knows nothing of it. A causal
trunk (SoundStream, sec. III-E) holds nothing back; one with centred windows waits for its `lookahead`.

The arithmetic is the same, but a product of matrices of other sizes may round otherwise: latents agree to
about 1e-6 of their size, and a code differs only where two entries are as near as that. The sound of the
paper's trunk agrees to 1e-5. Where phases are reconstructed (`phase.py`), such a difference may choose
another peak: there the error lies 45 dB and more below the sound, as between two machines.
"""

from collections.abc import Callable, Sequence
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musiclm.tokenizers.checks import check_codes, check_waveform
from musiclm.tokenizers.residual_vq import ResidualVectorQuantizer

# Called with the next chunk [B, C, n] and whether it is the last; gives what is certain by now [B, C', m].
# Chunks and outputs may be empty.
Stream = Callable[[Tensor, bool], Tensor]


class Streamable(Protocol):
    """An encoder or a decoder that also works chunk by chunk."""

    lookahead: int  # samples that must be known beyond the end of what comes out

    def stream(self) -> Stream:
        """`forward` in chunks, with a state of its own."""
        ...


class StreamableCodec(Protocol):
    """What a stream needs of its codec: the trunk's halves, which are `Streamable`, and the quantizer."""

    training: bool
    encoder: nn.Module
    decoder: nn.Module
    quantizer: ResidualVectorQuantizer
    num_quantizers: int
    codebook_size: int
    sample_rate: int  # Hz
    hop_length: int  # samples per frame


class CodecStream:
    """One recording on its way to codes, and one sequence of codes on its way to sound; see `streaming`.

    Args:
        codec: in eval mode.
        num_quantizers: levels to compute.
    """

    def __init__(self, codec: StreamableCodec, num_quantizers: int) -> None:
        if codec.training:
            raise ValueError("expected a codec in eval mode to stream with, got one in training: call eval()")
        self.codec = codec
        self.num_quantizers = num_quantizers
        encoder, decoder = cast(Streamable, codec.encoder), cast(Streamable, codec.decoder)
        self.encode_latency = encoder.lookahead / codec.sample_rate  # seconds
        self.decode_latency = decoder.lookahead / codec.sample_rate  # seconds
        self._encoder: Stream | None = encoder.stream()
        self._decoder: Stream | None = decoder.stream()
        self._samples = 0  # encoded so far

    @torch.no_grad()
    def encode(self, waveform: Tensor, *, last: bool = False) -> Tensor:
        """Codes [B, Q, t] int64 of the frames that this chunk makes certain; t may be 0.

        Put together, they are what `codec.encode` gives for the whole. A frame is certain once
        `encode_latency` seconds beyond its end are known.

        Args:
            waveform: the next chunk [B, 1, n] in [-1, 1], n of 0 or more.
            last: nothing follows: silence fills the last frame, and all that was held back comes out.

        Raises:
            ValueError: the waveform has another shape, other rows than before, or samples that are not
                finite; or the stream has ended.
        """
        encoder = _still_open(self._encoder)
        check_waveform(waveform, least=0)
        samples = self._samples + waveform.shape[-1]
        if last:
            waveform = F.pad(waveform, (0, -samples % self.codec.hop_length))
        latents = encoder(waveform, last)  # [B, D, t]
        self._samples, self._encoder = samples, None if last else encoder
        return self.codec.quantizer.encode(latents, self.num_quantizers)

    @torch.no_grad()
    def decode(self, codes: Tensor, *, last: bool = False) -> Tensor:
        """Waveform [B, 1, m] in [-1, 1] that these codes make certain; m = t * hop_length of a causal trunk.

        Put together, the chunks are what `codec.decode` gives for all codes. A sample is certain once the
        codes of `decode_latency` seconds beyond it are known.

        Args:
            codes: the next ones [B, 1 … num_quantizers, t], t of 0 or more.
            last: nothing follows: all that was held back comes out.

        Raises:
            ValueError: the codes have another shape, other rows than before, or are none of the
                codebook's; or the stream has ended.
        """
        decoder = _still_open(self._decoder)
        check_codes(
            codes,
            num_quantizers=self.codec.num_quantizers,
            codebook_size=self.codec.codebook_size,
            least=0,
        )
        waveform = decoder(self.codec.quantizer.decode(codes), last)  # [B, 1, m]
        self._decoder = None if last else decoder
        return waveform.clamp(-1.0, 1.0)

    def close(self) -> None:
        """Free the state; the stream cannot be used any more."""
        self._encoder = self._decoder = None


def _still_open(stream: Stream | None) -> Stream:
    if stream is None:
        raise ValueError(
            "expected an open stream, this one has ended with its last chunk or its `with` block: "
            "begin another with codec.streaming()"
        )
    return stream


# What streams are made of


def each(function: Callable[[Tensor], Tensor]) -> Stream:
    """A function that treats every frame by itself."""
    return lambda chunk, last: function(chunk)


def chain(streams: Sequence[Stream]) -> Stream:
    """One stream after the other."""

    def run(chunk: Tensor, last: bool) -> Tensor:
        for stream in streams:
            chunk = stream(chunk, last)
        return chunk

    return run


def convolution(conv: nn.Conv1d, *, before: int, after: int = 0) -> Stream:
    """A convolution with `before` zeros ahead of the first sample and `after` zeros behind the last."""
    span = (conv.kernel_size[0] - 1) * conv.dilation[0] + 1
    weight, bias, stride = conv.weight, conv.bias, conv.stride[0]
    return Sliding(
        lambda signal: F.conv1d(signal, weight, bias, stride, 0, conv.dilation[0], conv.groups),
        span=span,
        stride=stride,
        before=before,
        after=after,
    )


def transposed_convolution(conv: nn.ConvTranspose1d) -> Stream:
    """A causal transposed convolution: `stride` samples for each frame, the surplus at the right cut off."""
    stride = conv.stride[0]
    span = -(-conv.kernel_size[0] // stride)  # frames that reach into one frame's samples
    return Sliding(
        lambda signal: conv(signal)[..., (span - 1) * stride : signal.shape[-1] * stride],
        span=span,
        before=span - 1,
    )


class Sliding:
    """A function of windows: `span` samples at every `stride`-th.

    Args:
        function: of a signal [B, C, l] to outputs [B, C', n * k], k for each of the n whole windows in it.
        span: samples in a window.
        stride: samples from one window to the next.
        before, after: zeros ahead of the first sample, and behind the last.
    """

    def __init__(
        self,
        function: Callable[[Tensor], Tensor],
        *,
        span: int,
        stride: int = 1,
        before: int = 0,
        after: int = 0,
    ) -> None:
        self.function = function
        self.span, self.stride = span, stride
        self.after = after
        self.buffer = StreamBuffer(before)

    def __call__(self, chunk: Tensor, last: bool) -> Tensor:
        if last:
            chunk = F.pad(chunk, (0, self.after))
        self.buffer.add(chunk)
        windows = max((len(self.buffer) - self.span) // self.stride + 1, 0)
        if windows == 0:  # the function only tells how many channels the nothing has
            return self.function(chunk.new_zeros(*chunk.shape[:2], self.span))[..., :0]
        outputs = self.function(self.buffer.first((windows - 1) * self.stride + self.span))
        self.buffer.drop(windows * self.stride)
        return outputs


class Residual:
    """A branch's outputs, added to its inputs as they come."""

    def __init__(self, branch: Stream) -> None:
        self.branch = branch
        self.buffer = StreamBuffer()

    def __call__(self, chunk: Tensor, last: bool) -> Tensor:
        self.buffer.add(chunk)
        outputs = self.branch(chunk, last)
        return self.buffer.take(outputs.shape[-1]) + outputs


class Beside:
    """Two streams of the same input; `join` gets what both are certain of, [B, C, n] and [B, C', n]."""

    def __init__(self, first: Stream, second: Stream, join: Callable[[Tensor, Tensor], Tensor]) -> None:
        self.sides = [(first, StreamBuffer()), (second, StreamBuffer())]
        self.join = join

    def __call__(self, chunk: Tensor, last: bool) -> Tensor:
        for stream, buffer in self.sides:
            buffer.add(stream(chunk, last))
        count = min(len(buffer) for _, buffer in self.sides)
        first, second = (buffer.take(count) for _, buffer in self.sides)
        return self.join(first, second)


class StreamBuffer:
    """Samples [B, C, l] that wait for what comes after them, `zeros` ahead of the first."""

    def __init__(self, zeros: int = 0) -> None:
        self.zeros = zeros
        self.samples: Tensor | None = None

    def __len__(self) -> int:
        return 0 if self.samples is None else self.samples.shape[-1]

    def add(self, chunk: Tensor) -> None:
        """Put a chunk [B, C, n] behind the others."""
        if self.samples is None:
            self.samples = F.pad(chunk, (self.zeros, 0))
            return
        if chunk.shape[0] != self.samples.shape[0]:
            raise ValueError(
                f"expected chunks of {self.samples.shape[0]} rows as before, got {chunk.shape[0]} rows: "
                "begin another stream for another batch"
            )
        self.samples = torch.cat([self.samples, chunk], dim=-1)

    def first(self, count: int) -> Tensor:
        """The first `count` samples [B, C, count], which stay."""
        assert self.samples is not None
        return self.samples[..., :count]

    def drop(self, count: int) -> None:
        """Let the first `count` samples go."""
        assert self.samples is not None
        self.samples = self.samples[..., count:].clone()  # a view would keep all of them in memory

    def take(self, count: int) -> Tensor:
        """The first `count` samples [B, C, count], which go."""
        samples = self.first(count)
        self.drop(count)
        return samples
