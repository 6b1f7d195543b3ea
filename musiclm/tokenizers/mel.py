"""Mel spectrograms in plain torch, shared by the tokenizers and by the codec's losses.

waveform [B, 1, L] -> log-mel [B, num_mels, T] with T = L // hop_length + 1 (frames centred on multiples of
the hop, zeros beyond both ends). Generation must start fast and where torchaudio is absent, so the triangular
HTK filters are made here; a test holds them to torchaudio's.
"""

import torch
from torch import Tensor, nn


def mel_filterbank(
    num_bins: int,
    num_mels: int,
    *,
    sample_rate: int,
    low_hz: float = 0.0,
    high_hz: float | None = None,
) -> Tensor:
    """Triangular filters [num_bins, num_mels] on the HTK mel scale, each with a peak of 1.

    `num_bins` is the number of FFT bins (fft_length // 2 + 1). A filter narrower than the spacing of the bins
    may be empty (all zeros): that is the case for 64 filters over windows shorter than about 1024 samples.
    """
    high_hz = sample_rate / 2 if high_hz is None else high_hz
    if not 0 <= low_hz < high_hz <= sample_rate / 2:
        raise ValueError(f"expected 0 <= low_hz < high_hz <= {sample_rate / 2}, got {low_hz} and {high_hz}")
    bins = torch.linspace(0, sample_rate / 2, num_bins, dtype=torch.float64)  # Hz
    low, high = _hz_to_mel(torch.tensor([low_hz, high_hz], dtype=torch.float64, device="cpu")).tolist()
    corners = _mel_to_hz(torch.linspace(low, high, num_mels + 2, dtype=torch.float64))  # Hz
    widths = corners.diff()  # [num_mels + 1]
    distance = corners[None, :] - bins[:, None]  # [num_bins, num_mels + 2]
    rising = -distance[:, :-2] / widths[:-1]
    falling = distance[:, 2:] / widths[1:]
    return torch.minimum(rising, falling).clamp(min=0).float()


class LogMel(nn.Module):
    """Natural logarithm of the mel spectrogram of a waveform, always computed in float32.

    `power` 1 takes magnitudes, 2 energies; values below `floor` are raised to it before the logarithm. With
    `logarithm=False` the mel spectrogram itself comes out (losses that want both take it so). The filters and
    the window are derived values: they move with the module but are not part of its state.
    """

    filters: Tensor
    window: Tensor

    def __init__(
        self,
        sample_rate: int,
        num_mels: int,
        *,
        window_length: int,
        hop_length: int,
        fft_length: int | None = None,
        low_hz: float = 0.0,
        high_hz: float | None = None,
        power: float = 2.0,
        floor: float = 1e-5,
        logarithm: bool = True,
    ) -> None:
        super().__init__()
        self.fft_length = window_length if fft_length is None else fft_length
        if self.fft_length < window_length:
            raise ValueError(f"expected fft_length >= window_length {window_length}, got {fft_length}")
        self.sample_rate = sample_rate
        self.num_mels = num_mels
        self.window_length = window_length
        self.hop_length = hop_length
        self.power = power
        self.floor = floor
        self.logarithm = logarithm
        filters = mel_filterbank(
            self.fft_length // 2 + 1, num_mels, sample_rate=sample_rate, low_hz=low_hz, high_hz=high_hz
        )
        self.register_buffer("filters", filters, persistent=False)
        self.register_buffer("window", torch.hann_window(window_length), persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """Log-mel [B, num_mels, T] of a waveform [B, 1, L] or [B, L]; T = L // hop_length + 1."""
        waveform = waveform.flatten(1)  # [B, L]
        with torch.autocast(waveform.device.type, enabled=False):
            spectrum = torch.stft(
                waveform.float(),
                self.fft_length,
                self.hop_length,
                self.window_length,
                window=self.window,
                center=True,
                pad_mode="constant",
                return_complex=True,
            )  # [B, bins, T]
            energy = spectrum.real.square() + spectrum.imag.square()
            if self.power != 2:
                # The derivative of a root is infinite at 0, and silence has many zeros.
                energy = energy.clamp(min=1e-14).pow(self.power / 2)
            mel = torch.einsum("bft,fm->bmt", energy, self.filters)  # [B, num_mels, T]
            return mel.clamp(min=self.floor).log() if self.logarithm else mel


def _hz_to_mel(hz: Tensor) -> Tensor:
    return 2595 * torch.log10(1 + hz / 700)


def _mel_to_hz(mel: Tensor) -> Tensor:
    return 700 * (10 ** (mel / 2595) - 1)
