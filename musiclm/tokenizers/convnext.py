"""A spectral trunk for SoundStream: ConvNeXt blocks on short-time spectra, at one rate from end to end.

The paper's trunk works at 24 kHz and above all costs time there. Here the Fourier transform does the change
of rate: encoder and decoder run at the codes' 50 frames/s only, and the decoder's last layer gives a
spectrum, which the inverse transform turns into sound (as in Vocos, arXiv 2306.00814).

The codes say nothing about phase (`phase.py` tells why). In training the decoder is given the phases of the
target, so that it learns magnitudes by any loss on waveforms; afterwards it invents them.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from musiclm.tokenizers.convnext_blocks import KERNEL_SIZE, blocks, stream_blocks
from musiclm.tokenizers.low_band import LowBand
from musiclm.tokenizers.phase import GRIFFIN_LIM_ROUNDS, PhaseReconstruction, reconstruct_phase
from musiclm.tokenizers.running_norm import RunningNorm
from musiclm.tokenizers.streaming import Beside, Sliding, Stream, StreamBuffer, chain, convolution, each

MIN_MAGNITUDE = 1e-4
INITIAL_LOG_MAGNITUDE = -4.0  # an untrained decoder is quiet
MAX_LOG_MAGNITUDE = 5.0


class Spectrum(nn.Module):
    """Short-time Fourier transform with exactly one frame per hop, and its inverse.

    A frame is `window` samples around the middle of its hop, so L = T * hop samples give T frames and T
    frames give back L samples. Phase counts from that middle. The signal is taken to be silent outside.
    """

    window: Tensor

    def __init__(self, window: int, hop: int) -> None:
        super().__init__()
        if window % hop != 0 or (window - hop) % 2 != 0:
            raise ValueError(f"expected a window of whole hops, got a window of {window} and a hop of {hop}")
        self.size, self.hop = window, hop
        self.margin = (window - hop) // 2
        self.register_buffer("window", torch.hann_window(window), persistent=False)

    @property
    def num_bins(self) -> int:
        return self.size // 2 + 1

    def forward(self, waveform: Tensor) -> Tensor:
        """Complex spectra [B, T, F] of a waveform [B, 1, T * hop]."""
        return self._of_windows(F.pad(waveform, (self.margin, self.margin)))

    def inverse(self, spectra: Tensor) -> Tensor:
        """Waveform [B, 1, T * hop] of complex spectra [B, T, F], by weighted overlap-add."""
        frames = torch.fft.irfft(spectra, n=self.size, norm="ortho").roll(self.size // 2, dims=-1)
        signal = self._overlap_add(frames * self.window)
        weight = self._overlap_add(self.window.square().expand(1, frames.shape[1], -1))
        return signal / weight.clamp_min(1e-3)

    def sound(self, magnitude: Tensor, prefix: Tensor | None = None) -> Tensor:
        """Waveform [B, 1, T * hop] of magnitudes [B, T, F]; phases beyond its beginning are reconstructed.

        Args:
            magnitude: non-negative.
            prefix: [B, 1, n * hop], n <= T, how the waveform begins; frames that lie within keep its phases.
        """
        batch, num_frames, num_bins = magnitude.shape
        known = magnitude.new_zeros(batch, 0, num_bins, dtype=torch.complex64)
        if prefix is not None:
            known = self(prefix)
            if known.shape[1] == num_frames:
                return self.inverse(torch.polar(magnitude, known.angle()))
            beyond = -(-self.margin // self.hop)  # frames that reach over its end
            known = known[:, : max(known.shape[1] - beyond, 0)]
        return self.inverse(
            reconstruct_phase(magnitude, known, hop=self.hop, consistent=lambda s: self(self.inverse(s)))
        )

    def stream(self) -> Stream:
        """`forward` chunk by chunk; the time is the last axis: spectra [B, F, T]."""
        return Sliding(
            lambda signal: self._of_windows(signal).mT,
            span=self.size,
            stride=self.hop,
            before=self.margin,
            after=self.margin,
        )

    def inverse_stream(self) -> Stream:
        """`inverse` chunk by chunk, of spectra [B, F, T]."""
        return _StreamedInverse(self)

    def sound_stream(self) -> Stream:
        """`sound` chunk by chunk, of magnitudes [B, F, T], with all phases reconstructed."""
        phase = PhaseReconstruction(
            hop=self.hop, consistent=lambda: chain([self.inverse_stream(), self.stream()])
        )
        return chain([phase, self.inverse_stream()])

    def _of_windows(self, signal: Tensor) -> Tensor:
        """Complex spectra [B, T, F] of the windows that lie whole within a signal [B, 1, l]."""
        frames = signal[:, 0].float().unfold(-1, self.size, self.hop) * self.window  # [B, T, window]
        return torch.fft.rfft(frames.roll(-(self.size // 2), dims=-1), norm="ortho")

    def _overlap_add(self, frames: Tensor) -> Tensor:
        """Sum [B, 1, T * hop] of frames [B, T, window] laid a hop apart, without the margins."""
        batch, num_frames = frames.shape[:2]
        parts = frames.unflatten(-1, (-1, self.hop))  # [B, T, window / hop, hop]
        over = parts.shape[2] - 1  # hops that a window reaches beyond its first
        hops = frames.new_zeros(batch, num_frames + over, self.hop)
        for k in range(over + 1):  # a fifth of the time of `F.fold`
            hops[:, k : k + num_frames] += parts[:, :, k]
        signal = hops.view(batch, 1, -1)
        return signal[..., self.margin : signal.shape[-1] - self.margin]


class _StreamedInverse:
    """Spectra [B, F, T] back to sound: a sample is certain once all windows over it are known."""

    def __init__(self, spectrum: Spectrum) -> None:
        self.spectrum = spectrum
        self.buffer = StreamBuffer()  # frames whose windows reach beyond what was given out
        self.dropped = 0  # frames
        self.given = 0  # samples

    def __call__(self, spectra: Tensor, last: bool) -> Tensor:
        self.buffer.add(spectra)
        frames, hop, margin = len(self.buffer), self.spectrum.hop, self.spectrum.margin
        if frames == 0:
            return spectra.real.new_zeros(len(spectra), 1, 0)
        begin = self.dropped * hop
        certain = max(begin + frames * hop - (0 if last else margin), self.given)
        # What lies under the windows of frames dropped is false here, but was given out before.
        sound = self.spectrum.inverse(self.buffer.first(frames).mT)[..., self.given - begin : certain - begin]
        surplus = max(frames - 2 * margin // hop, 0)  # their windows end where the next sample begins
        self.buffer.drop(surplus)
        self.dropped += surplus
        self.given = certain
        return sound


class ConvNeXtEncoder(nn.Module):
    """Waveform [B, 1, T * hop] to latents [B, dimension, T], by way of each bin's log magnitude."""

    def __init__(
        self,
        dimension: int,
        *,
        width: int = 256,
        hidden: int = 768,
        depth: int = 4,
        window: int = 1920,
        hop: int = 480,
    ) -> None:
        super().__init__()
        self.spectrum = Spectrum(window, hop)
        self.standardise = RunningNorm(self.spectrum.num_bins)
        self.embed = nn.Linear(self.spectrum.num_bins, width)
        self.norm_in = nn.LayerNorm(width)
        self.blocks = blocks(width, hidden, depth)
        self.norm_out = nn.LayerNorm(width)
        self.project = nn.Linear(width, dimension)

    @property
    def lookahead(self) -> int:
        """Samples that must be known beyond the end of a frame, for the centred windows."""
        return self.spectrum.margin + len(self.blocks) * (KERNEL_SIZE // 2) * self.spectrum.hop

    def forward(self, waveform: Tensor) -> Tensor:
        return self._leave(self.blocks(self._enter(self.spectrum(waveform)))).mT  # [B, D, T]

    def stream(self) -> Stream:
        """`forward` chunk by chunk."""
        enter = each(lambda spectra: self._enter(spectra.mT).mT)
        leave = each(lambda frames: self._leave(frames.mT).mT)
        return chain([self.spectrum.stream(), enter, stream_blocks(self.blocks), leave])

    def _enter(self, spectra: Tensor) -> Tensor:
        """What the blocks are given [B, T, width] of spectra [B, T, F]."""
        level = spectra.abs().clamp_min(MIN_MAGNITUDE).log()  # [B, T, F]
        return self.norm_in(self.embed(self.standardise(level)))

    def _leave(self, frames: Tensor) -> Tensor:
        """Latents [B, T, D] of what the blocks give."""
        return self.project(self.norm_out(frames))


class ConvNeXtDecoder(nn.Module):
    """Latents [B, dimension, T] to waveform [B, 1, T * hop]; the head gives each bin a log magnitude.

    Args:
        dimension: of the latents.
        width, hidden, depth: of the blocks.
        window, hop: of the spectrum, in samples.
        low_band: gives the lowest bins in the head's place, where the codec has one.
    """

    def __init__(
        self,
        dimension: int,
        *,
        width: int = 384,
        hidden: int = 1152,
        depth: int = 8,
        window: int = 1920,
        hop: int = 480,
        low_band: LowBand | None = None,
    ) -> None:
        super().__init__()
        self.spectrum = Spectrum(window, hop)
        self.embed = nn.Conv1d(dimension, width, KERNEL_SIZE, padding=KERNEL_SIZE // 2)
        self.norm_in = nn.LayerNorm(width)
        self.blocks = blocks(width, hidden, depth)
        self.norm_out = nn.LayerNorm(width)
        self.head = nn.Linear(width, self.spectrum.num_bins)
        nn.init.constant_(self.head.bias, INITIAL_LOG_MAGNITUDE)
        self.low_band = low_band

    @property
    def lookahead(self) -> int:
        """Samples that must be known beyond one, for the centred windows and the frames that must agree."""
        deepest = max(len(self.blocks), 0 if self.low_band is None else len(self.low_band.blocks))
        frames = (1 + deepest) * (KERNEL_SIZE // 2)
        turns = 2 * GRIFFIN_LIM_ROUNDS + 1  # each one from spectra to sound, or from sound to spectra
        return frames * self.spectrum.hop + turns * self.spectrum.margin

    def forward(self, latents: Tensor, prefix: Tensor | None = None) -> Tensor:
        """The sound of `latents`, running on in phase from `prefix`.

        Args:
            latents: [B, dimension, T].
            prefix: [B, 1, n * hop], n <= T: the sound's beginning, whose phases are kept; in training, all.
        """
        frames = self.blocks(self.norm_in(self.embed(latents).mT))  # [B, T, D]
        level = self._level(frames)
        if self.low_band is not None:
            level = with_low_band(level, self.low_band(latents))
        return self.spectrum.sound(magnitude_of(level), prefix)

    def stream(self) -> Stream:
        """`forward` chunk by chunk, with phases reconstructed from the first frame on."""
        margin = KERNEL_SIZE // 2
        embed = convolution(self.embed, before=margin, after=margin)
        norm = each(lambda frames: self.norm_in(frames.mT).mT)
        level = chain([embed, norm, stream_blocks(self.blocks), each(lambda f: self._level(f.mT).mT)])
        if self.low_band is not None:
            level = Beside(level, self.low_band.stream(), lambda all, low: with_low_band(all.mT, low.mT).mT)
        return chain([level, each(magnitude_of), self.spectrum.sound_stream()])

    def _level(self, frames: Tensor) -> Tensor:
        """Log magnitudes [B, T, F] of what the blocks give."""
        level: Tensor = self.head(self.norm_out(frames)).float()
        return level


def with_low_band(level: Tensor, low: Tensor) -> Tensor:
    """Log magnitudes [B, T, F] whose lowest bins are those of `low` [B, T, bins]."""
    return torch.cat([low, level[..., low.shape[-1] :]], dim=-1)


def magnitude_of(level: Tensor) -> Tensor:
    """Magnitudes of logarithms, bounded, so that no frame bursts."""
    return level.clamp_max(MAX_LOG_MAGNITUDE).exp()
