"""Residual vector quantization with codebooks learned by moving averages (SoundStream, sec. III-C).

Latents [B, D, T] go in; each level quantizes what the levels before it left over, so that the first k levels
alone already are a coarser code. Gradients pass straight through to the encoder.

Guards against codebooks that collapse onto a few entries: latents are standardised; they pass unquantized
until enough frames have been gathered for k-means over all levels; an entry's count is a moving *sum* over
batches, so that "seen fewer than twice lately" means the same at any batch size; a dead entry moves to a
frame drawn from the recent ones, of which many more are kept than one small batch has.
"""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from musiclm.tokenizers.gather import from_all_devices
from musiclm.tokenizers.nearest import nearest
from musiclm.tokenizers.running_norm import RunningNorm

DECAY = 0.99  # SoundStream, sec. III-C
DEAD_BELOW = 2.0  # moving count below which an entry is replaced; SoundStream, sec. III-C
REVIVED_COUNT = 8.0  # moving count a replaced entry starts with: about 140 batches to prove itself at DECAY
FRAMES_PER_ENTRY = 8  # recent frames kept per codebook entry, for k-means and for replacements
KMEANS_ITERATIONS = 12


class Quantized(NamedTuple):
    latents: Tensor  # [B, D, T] sum of the chosen entries, with straight-through gradient
    codes: Tensor  # [B, Q, T] int64
    commitment: Tensor  # [] squared distance of latents from their entries, summed over levels


class ResidualVectorQuantizer(nn.Module):
    """`num_quantizers` codebooks of `codebook_size` entries, each quantizing the residual of those before.

    Args:
        dimension: D, size of a latent.
        num_quantizers: Q, number of levels.
        codebook_size: entries in one codebook.
    """

    codebooks: Tensor
    counts: Tensor
    sums: Tensor
    recent: Tensor
    num_seen: Tensor
    is_initialized: Tensor
    training_state = ("counts", "sums", "recent", "num_seen")

    def __init__(self, dimension: int, *, num_quantizers: int, codebook_size: int) -> None:
        super().__init__()
        self.dimension = dimension
        self.num_quantizers = num_quantizers
        self.codebook_size = codebook_size
        self.norm = RunningNorm(dimension)
        entries = (num_quantizers, codebook_size)
        self.register_buffer("codebooks", torch.zeros(*entries, dimension))
        self.register_buffer("counts", torch.zeros(entries))
        self.register_buffer("sums", torch.zeros(*entries, dimension))
        self.register_buffer("recent", torch.zeros(FRAMES_PER_ENTRY * codebook_size, dimension))
        self.register_buffer("num_seen", torch.zeros((), dtype=torch.int64))
        self.register_buffer("is_initialized", torch.zeros((), dtype=torch.bool))

    def forward(
        self, latents: Tensor, num_quantizers: Tensor | None = None, *, quantize: bool = True
    ) -> Quantized:
        """Quantize `latents` [B, D, T]; in training mode, also learn the codebooks.

        Args:
            latents: the encoder's output.
            num_quantizers: [B] int64, levels that each example may use (quantizer dropout); None for all.
            quantize: False lets the latents pass, as in the first steps of training, when they still move
                too fast for codebooks to follow.
        """
        batch = latents.shape[0]
        # Once there are codebooks the statistics stand still, or nothing would hold the latents' scale.
        frames = self.norm(latents.float().transpose(1, 2), learn=not self.is_initialized)
        frames = frames.reshape(-1, self.dimension)  # [B*T, D]
        if self.training:
            self._remember(from_all_devices(frames.detach()))
            if quantize and not self.is_initialized and self.num_seen >= len(self.recent):
                self._initialize()
        if not quantize or not self.is_initialized:
            codes = frames.new_zeros((batch, self.num_quantizers, latents.shape[-1]), dtype=torch.int64)
            passed = frames.view(batch, -1, self.dimension).transpose(1, 2)
            return Quantized(passed, codes, frames.new_zeros(()))

        if num_quantizers is None:
            num_quantizers = torch.full((batch,), self.num_quantizers, device=latents.device)
        levels = num_quantizers.repeat_interleave(latents.shape[-1])  # [B*T]
        quantized = torch.zeros_like(frames)
        commitments, chosen, residuals = [], [], []
        for level, codebook in enumerate(self.codebooks):
            residual = frames - quantized  # [B*T, D]
            index = nearest(residual.detach(), codebook)  # [B*T]
            entry = codebook[index]  # [B*T, D]
            used = (level < levels).to(frames.dtype)[:, None]  # [B*T, 1]
            commitments.append((used * (residual - entry).square()).mean())
            residuals.append(residual.detach())
            chosen.append(index)
            # Examples that stop at an earlier level still teach this codebook: their residual goes on beside.
            quantized = quantized + entry
        codes = torch.stack(chosen)  # [Q, B*T]
        kept = self._sum_of_entries(codes, levels)  # [B*T, D]
        straight = frames + (kept - frames).detach()
        if self.training:
            taught = from_all_devices(torch.stack(residuals, dim=1))  # [devices * N, Q, D]
            self._learn(taught.transpose(0, 1), from_all_devices(codes.t()).t())
        return Quantized(
            straight.view(batch, -1, self.dimension).transpose(1, 2),
            codes.view(self.num_quantizers, batch, -1).transpose(0, 1),
            torch.stack(commitments).sum(),
        )

    @torch.no_grad()
    def encode(self, latents: Tensor, num_quantizers: int) -> Tensor:
        """Codes [B, num_quantizers, T] int64 of `latents` [B, D, T]."""
        residual = self.norm(latents.float().transpose(1, 2))  # [B, T, D]
        codes = []
        for codebook in self.codebooks[:num_quantizers]:
            index = nearest(residual.reshape(-1, self.dimension), codebook).view(residual.shape[:2])
            residual = residual - codebook[index]
            codes.append(index)
        return torch.stack(codes, dim=1)

    def decode(self, codes: Tensor) -> Tensor:
        """Latents [B, D, T] of `codes` [B, Q, T]; Q may be fewer than all levels."""
        return sum_of_entries(self.codebooks, codes)

    def _sum_of_entries(self, codes: Tensor, levels: Tensor) -> Tensor:
        """Sum [N, D] of the first `levels` [N] entries of `codes` [Q, N]."""
        total = torch.zeros(codes.shape[1], self.dimension, device=codes.device)
        for level, codebook in enumerate(self.codebooks):
            total += codebook[codes[level]] * (level < levels)[:, None]
        return total

    @torch.no_grad()
    def _remember(self, frames: Tensor) -> None:
        """Keep `frames` [N, D] in the ring of recent ones."""
        size = self.recent.shape[0]
        frames = frames[-size:]
        position = (self.num_seen + torch.arange(len(frames), device=frames.device)) % size
        self.recent[position] = frames
        self.num_seen += len(frames)

    @torch.no_grad()
    def _initialize(self) -> None:
        """Set all codebooks by k-means, each on what the one before leaves of the recent frames."""
        residual = self.recent.clone()
        for level in range(self.num_quantizers):
            entries, counts = kmeans(residual, self.codebook_size)
            self.codebooks[level] = entries
            self.counts[level] = counts.clamp_min(1.0)
            self.sums[level] = entries * self.counts[level][:, None]
            residual -= entries[nearest(residual, entries)]
        self.is_initialized.fill_(True)

    @torch.no_grad()
    def _learn(self, residuals: Tensor, codes: Tensor) -> None:
        """Move every entry towards the mean of its frames: `residuals` [Q, N, D], `codes` [Q, N]."""
        self.counts *= DECAY
        self.sums *= DECAY
        ones = torch.ones_like(residuals[0, :, 0])
        for level in range(self.num_quantizers):
            self.counts[level].index_add_(0, codes[level], ones)
            self.sums[level].index_add_(0, codes[level], residuals[level])
        dead = self.counts < DEAD_BELOW  # [Q, K]
        if dead.any():
            self._revive(dead)
        self.codebooks.copy_(self.sums / self.counts[..., None])

    def _revive(self, dead: Tensor) -> None:
        """Move entries marked in `dead` [Q, K] to residuals of frames drawn from the recent ones."""
        for level in range(int(dead.any(dim=1).nonzero().max()) + 1):
            which = dead[level].nonzero()[:, 0]
            draw = torch.randint(min(int(self.num_seen), len(self.recent)), (len(which),)).to(which.device)
            residual = self.recent[draw]
            for codebook in self.codebooks[:level]:
                residual = residual - codebook[nearest(residual, codebook)]
            self.counts[level, which] = REVIVED_COUNT
            self.sums[level, which] = residual * REVIVED_COUNT


def kmeans(vectors: Tensor, num_clusters: int) -> tuple[Tensor, Tensor]:
    """Centroids [K, D] of `vectors` [N, D], and how many vectors each has [K].

    A cluster that loses all its vectors restarts at a random one. Draws from torch's global generator.
    """
    num_vectors = vectors.shape[0]
    assert num_vectors >= num_clusters
    centroids = vectors[torch.randperm(num_vectors)[:num_clusters].to(vectors.device)].clone()
    counts = torch.zeros(num_clusters, device=vectors.device)
    for _ in range(KMEANS_ITERATIONS):
        index = nearest(vectors, centroids)
        counts = torch.bincount(index, minlength=num_clusters).to(vectors.dtype)
        sums = torch.zeros_like(centroids).index_add_(0, index, vectors)
        fresh = vectors[torch.randint(num_vectors, (num_clusters,)).to(vectors.device)]
        centroids = torch.where(counts[:, None] > 0, sums / counts[:, None].clamp_min(1.0), fresh)
    return centroids, counts


def sum_of_entries(codebooks: Tensor, codes: Tensor) -> Tensor:
    """The vectors [B, D, T] that codes [B, Q, T] stand for, by codebooks [Q or more, codebook_size, D]."""
    entries = torch.stack([codebooks[q][codes[:, q]] for q in range(codes.shape[1])])  # [Q, B, T, D]
    return entries.sum(dim=0).transpose(1, 2)
