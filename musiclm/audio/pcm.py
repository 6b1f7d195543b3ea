"""Sound as 16-bit samples, and the header of a WAV file of them that need not be whole yet."""

import io
import wave

from torch import Tensor


def pcm(block: Tensor) -> bytes:
    """A block [1, l] as 16-bit little-endian samples, as libsndfile has it: to 32 bits, of which 16 stay."""
    samples = ((block[0].double() * 2**31).round() / 2**16).floor().clamp(-(2**15), 2**15 - 1)
    return samples.numpy().astype("<i2").tobytes()


def wav_header(sample_rate: int, length: int) -> bytes:
    """What stands before `length` mono samples of 16 bits in a WAV file: 44 bytes."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, sample_rate, length, "NONE", ""))
        file.writeframesraw(b"")  # which writes the header; closing would mend the length that it says
        return content.getvalue()
