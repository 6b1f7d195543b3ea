"""What tokenizers have made, checked before it is kept: a token store never holds NaN or an unknown code."""

import numpy as np
import torch
from torch import Tensor

LARGEST = float(np.finfo(np.float16).max)  # embeddings are kept as float16


def check_codes_made(tokenizer: str, codes: Tensor, codebook_size: int) -> None:
    """Raise ValueError, naming the tokenizer, unless there are codes and all are 0 … codebook_size - 1."""
    if codes.numel() == 0:
        raise ValueError(f"{tokenizer} makes no codes of it: it is too short")
    low, high = (int(extreme) for extreme in torch.aminmax(codes))
    if low < 0 or high >= codebook_size:
        raise ValueError(
            f"{tokenizer} makes codes of {low} … {high} of it, expected 0 … {codebook_size - 1}: "
            "its weights are damaged"
        )


def check_embeddings_made(tokenizer: str, vectors: Tensor) -> None:
    """Raise ValueError, naming the tokenizer, unless there are embeddings [N, D] that float16 can hold."""
    if vectors.numel() == 0:
        raise ValueError(f"{tokenizer} makes no embedding of it: it is too short")
    if not bool((vectors.abs() <= LARGEST).all()):  # False for NaN
        raise ValueError(f"{tokenizer} makes embeddings of it that are not finite: its weights are damaged")
