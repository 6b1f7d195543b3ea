"""What tokenizers refuse, in one line each: the same words whichever codec it is."""

import torch
from torch import Tensor


def check_waveform(waveform: Tensor, *, least: int = 1, channels: int = 1) -> None:
    """Raise ValueError unless `waveform` is [B, channels, L], L >= least, of finite samples."""
    if channels > 1 and (waveform.dim() != 3 or waveform.shape[1] != channels or waveform.shape[2] < least):
        raise ValueError(
            f"expected a waveform of shape [B, {channels}, L], got {list(waveform.shape)}; give each channel "
            "a row of its own"
        )
    if waveform.dim() != 3 or waveform.shape[1] != channels or waveform.shape[2] < least:
        raise ValueError(
            f"expected a mono waveform of shape [B, 1, L], got {list(waveform.shape)}; "
            "add the missing dimension, or mix the channels down first"
        )
    # The extremes say it too, and isfinite() would hold several copies of a long recording.
    if waveform.numel() and not torch.stack(waveform.aminmax()).isfinite().all():
        raise ValueError("expected finite samples, got NaN or infinity; repair or drop this audio")


def check_levels(wanted: int | None, num_quantizers: int) -> int:
    """How many levels of `num_quantizers` to compute: all where `wanted` is None, else 1 or more of them."""
    levels = num_quantizers if wanted is None else wanted
    if not 1 <= levels <= num_quantizers:
        raise ValueError(f"expected num_quantizers of 1 … {num_quantizers}, got {levels}")
    return levels


def check_codes(codes: Tensor, *, num_quantizers: int, codebook_size: int, least: int = 1) -> None:
    """Raise ValueError unless codes are [B, 1 … num_quantizers, T], T >= least, of 0 … codebook_size - 1."""
    if codes.dim() != 3 or not 1 <= codes.shape[1] <= num_quantizers or codes.shape[2] < least:
        raise ValueError(f"expected codes of shape [B, 1 … {num_quantizers}, T], got {list(codes.shape)}")
    if codes.numel() and (codes.min() < 0 or codes.max() >= codebook_size):
        found = f"{int(codes.min())} … {int(codes.max())}"
        raise ValueError(
            f"expected codes of 0 … {codebook_size - 1}, got {found}; remove token offsets first"
        )
