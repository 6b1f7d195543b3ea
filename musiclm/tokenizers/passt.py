"""PaSST, a published classifier of sound by AudioSet's 527 labels, for the divergence of labels (2110.05069).

waveform [B, 1, L] at 32 kHz -> log-mel [128, frames] of 10 s each -> probabilities [N, 527]

A vision transformer on patches of the spectrogram, with an embedding of a patch's place in time and one of
its place in frequency. The weights are those of a file in the published format
(passt-s-f128-p16-s10-ap.476-swa.pt); the sizes are theirs. Patches are only left out in training.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from musiclm.tokenizers.checks import check_waveform
from musiclm.tokenizers.published_weights import read_published

SAMPLE_RATE = 32_000  # Hz
WINDOW, HOP, SIZE = 800, 320, 1024  # samples
MEL_BANDS, HIGHEST = 128, 15_000.0  # Hz
PREEMPHASIS = 0.97
OFFSET, MEAN, SPREAD = 1e-5, -4.5, 5.0  # of the logarithm; what brings it near 0 and 1
SECONDS = 10.0  # that it was trained on
SHORTEST = 1.0  # seconds of what is left at the end that still count
TRAINED_FRAMES = 998
STRIDES = (10, 12, 14, 16, 20)  # of the published models' patches
HEAD_WIDTH = 64


class _Attention(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.heads = width // HEAD_WIDTH
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # [B, H, S, d]
        out: Tensor = self.proj(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return out


class _FeedForward(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc2(functional.gelu(self.fc1(x)))
        return out


class _Block(nn.Module):
    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = _Attention(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = _FeedForward(width, hidden)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x))
        out: Tensor = x + self.mlp(self.norm2(x))
        return out


class PaSST(nn.Module):
    """Probabilities of labels for every 10 s of audio.

    Args:
        width, depth, hidden: of the transformer, whose heads are 64 wide.
        labels: number of classes.
        patch: side of a patch, in bands and frames.
        places: of patches, in frequency and in time.
    """

    sample_rate = SAMPLE_RATE
    window: Tensor
    filters: Tensor

    def __init__(
        self, *, width: int, depth: int, hidden: int, labels: int, patch: int, places: tuple[int, int]
    ) -> None:
        super().__init__()
        self.dimension = labels
        patches = nn.Conv2d(1, width, patch, stride=_stride(patch, places))
        self.patch_embed = nn.ModuleDict({"proj": patches})
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.dist_token = nn.Parameter(torch.zeros(1, 1, width))
        self.new_pos_embed = nn.Parameter(torch.zeros(1, 2, width))
        self.freq_new_pos_embed = nn.Parameter(torch.zeros(1, width, places[0], 1))
        self.time_new_pos_embed = nn.Parameter(torch.zeros(1, width, 1, places[1]))
        self.blocks = nn.Sequential(*(_Block(width, hidden) for _ in range(depth)))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, labels))
        self.register_buffer("window", torch.hann_window(WINDOW, periodic=False), persistent=False)
        self.register_buffer("filters", _mel_filters(), persistent=False)

    def log_mel(self, waveform: Tensor) -> Tensor:
        """Log-mel [N, 128, T] of waveforms [N, L], brought near 0 and 1."""
        sharpened = waveform[:, 1:] - PREEMPHASIS * waveform[:, :-1]
        spectrum = torch.stft(
            sharpened, SIZE, HOP, WINDOW, window=self.window, center=True, return_complex=True
        )  # [N, bins, T]
        power = spectrum.real.square() + spectrum.imag.square()
        return ((self.filters @ power + OFFSET).log() - MEAN) / SPREAD

    def logits(self, mel: Tensor) -> Tensor:
        """Scores [N, labels] of log-mels [N, 128, T] of 10 s or less."""
        x = self.patch_embed["proj"](mel[:, None])[..., : self.time_new_pos_embed.shape[3]]  # [N, D, F, T]
        x = x + self.time_new_pos_embed[..., : x.shape[3]] + self.freq_new_pos_embed
        x = x.flatten(2).transpose(1, 2)  # [N, F*T, D]
        tokens = torch.cat([self.cls_token, self.dist_token], dim=1) + self.new_pos_embed  # [1, 2, D]
        x = self.norm(self.blocks(torch.cat([tokens.expand(len(x), -1, -1), x], dim=1)))
        scores: Tensor = self.head(x[:, :2].mean(dim=1))
        return scores

    @torch.no_grad()
    def embed_windows(self, waveform: Tensor) -> Tensor:
        """Probabilities [N, labels] of every 10 s of one recording [1, 1, L], and of 1 s or more that are
        left.

        A recording below 1 s is repeated until it lasts that.
        """
        check_waveform(waveform)
        length, shortest = round(SECONDS * SAMPLE_RATE), round(SHORTEST * SAMPLE_RATE)
        samples = waveform[0]  # [1, L]
        samples = samples.repeat(1, -(-shortest // samples.shape[1]))
        pieces = [piece for piece in samples.split(length, dim=1) if piece.shape[1] >= shortest]
        return torch.cat([self.logits(self.log_mel(piece)).softmax(dim=-1) for piece in pieces])


def read_passt(file: Path) -> PaSST:
    """The model of a published file.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is truncated, altered or another model's.
    """
    state = read_published(file)
    state = {name: value for name, value in state.items() if not name.startswith("head_dist.")}  # of training
    try:
        labels, width = state["head.1.weight"].shape
        model = PaSST(
            width=width,
            depth=1 + max(int(name.split(".")[1]) for name in state if name.startswith("blocks.")),
            hidden=len(state["blocks.0.mlp.fc1.bias"]),
            labels=labels,
            patch=state["patch_embed.proj.weight"].shape[2],
            places=(state["freq_new_pos_embed"].shape[2], state["time_new_pos_embed"].shape[3]),
        )
        model.load_state_dict(state)
    except (KeyError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:150]
        raise ValueError(f"expected the weights of a PaSST in {file}, got others: {reason}") from None
    return model.eval().requires_grad_(False)


def _stride(patch: int, places: tuple[int, int]) -> int:
    """The stride of patches that gives so many places."""
    for stride in STRIDES:
        if places == ((MEL_BANDS - patch) // stride + 1, (TRAINED_FRAMES - patch) // stride + 1):
            return stride
    raise ValueError(f"its {places[0]} × {places[1]} patches are those of no published PaSST")


def _mel_filters() -> Tensor:
    """Kaldi's triangles [128, 513] on its mel scale."""
    from torchaudio.compliance.kaldi import get_mel_banks

    filters, _ = get_mel_banks(
        MEL_BANDS, SIZE, SAMPLE_RATE, 0.0, HIGHEST, vtln_low=100.0, vtln_high=-500.0, vtln_warp_factor=1.0
    )
    return functional.pad(filters, (0, 1))
