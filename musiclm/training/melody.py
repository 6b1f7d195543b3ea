"""Training of the melody embedding: the same tune attracts, other tunes repel (MusicLM, appendix C).

The paper has the semi-hard triplet loss alone. What the stages need of an embedding is the tune itself, so
two readers learn beside it to say which pitch class sounds when: one from the embedding, one from each token.
They belong to the training and are in no bundle.
"""

import math
from functools import partial
from typing import Any

import lightning
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional

from musiclm.data.melodies import LABEL_SECONDS, SILENCE
from musiclm.data.melody_windows import QUERIES, SAME
from musiclm.metrics.retrieval import retrieval
from musiclm.tokenizers.melody import BANDS_PER_SEMITONE, WINDOW_SECONDS, MelodyEmbedding
from musiclm.training.schedules import scheduled, share_of_peak
from musiclm.training.seeds import seed_step
from musiclm.training.triplets import triplet_loss

NUM_LABELS = round(WINDOW_SECONDS / LABEL_SECONDS)
NUM_CLASSES = SILENCE + 1


class MelodyTraining(lightning.LightningModule):
    """Triplets, reading, and what both are worth on held-out melodies.

    Batches are those of `MelodyVersions`. All versions of a window are transposed together, which makes
    twelve tunes of one; each is mistuned, filtered and buried in noise on its own. Of several devices, each
    looks for negatives in its own batch.

    Args:
        part: the embedding to train.
        optimizer: made from the parameters.
        warmup_steps: of the learning rate, which then falls to 0 by half a cosine over the run.
        margin: of the triplet loss, in squared distances (0 … 4).
        reading_weight: of the reader's cross-entropy, beside the triplet loss.
        token_weight: of the cross-entropy of reading token by token.
        reader_width: of the reader's hidden layer.
        seed: of augmentation; a step's draw depends on the seed and the step alone.
    """

    role = "melody_embedding"  # in a bundle

    def __init__(
        self,
        part: MelodyEmbedding,
        *,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        warmup_steps: int = 100,
        margin: float = 0.4,
        reading_weight: float = 1.0,
        token_weight: float = 0.5,
        reader_width: int = 512,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.part = part
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.margin = margin
        self.reading_weight = reading_weight
        self.token_weight = token_weight
        self.seed = seed
        self.reader = nn.Sequential(
            nn.Linear(part.dimension, reader_width),
            nn.GELU(),
            nn.Linear(reader_width, NUM_LABELS * NUM_CLASSES),
        )
        self.token_reader = nn.Linear(part.norm.normalized_shape[0], NUM_CLASSES)
        self._seen: list[tuple[Tensor, Tensor]] = []

    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        seed_step(self, self.seed)
        views = batch["waveform"].shape[1]
        bands, classes = augment(
            self.part.bands(batch["waveform"].flatten(0, 1)),
            batch["classes"].flatten(0, 1),
            views=views,
            white=self.part.filters.sum(dim=0),
        )
        tokens = self.part.tokens(bands)  # [N, S, width]
        vectors = self.part.pool(tokens)  # [N, dimension]

        melody = torch.arange(len(vectors), device=vectors.device) // views
        same = melody[:, None] == melody
        # Two windows of the same refrain are no negatives.
        alike = (classes[:, None] == classes).float().mean(dim=2) > SAME
        triplet = triplet_loss(vectors, same, ~same & ~alike, margin=self.margin)
        reading = functional.cross_entropy(self.read(vectors).transpose(1, 2), classes)
        by_token = functional.cross_entropy(
            self.token_reader(tokens).transpose(1, 2).float(), classes[:, self._labels_of_tokens()]
        )
        loss = triplet + self.reading_weight * reading + self.token_weight * by_token
        self.log_dict(
            {"train/triplet": triplet, "train/reading": reading, "train/tokens": by_token}, prog_bar=True
        )
        return loss

    def read(self, vectors: Tensor) -> Tensor:
        """Logits [N, labels, classes] of the pitch class that sounds, from embeddings [N, dimension]."""
        spread = vectors * math.sqrt(self.part.dimension)  # of variance 1, as layers expect
        return self.reader(spread).unflatten(1, (NUM_LABELS, NUM_CLASSES)).float()

    def on_validation_epoch_start(self) -> None:
        self._seen = []

    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        vectors = self.part(batch["waveform"].flatten(0, 1)).unflatten(0, batch["waveform"].shape[:2])
        self._seen.append((vectors, batch["classes"]))  # [M, 1 + queries, dimension]

    def on_validation_epoch_end(self) -> None:
        vectors = torch.cat([vectors for vectors, _ in self._seen]).transpose(0, 1)  # [1 + queries, N, D]
        classes = torch.cat([classes for _, classes in self._seen]).transpose(0, 1)
        fits = torch.eye(vectors.shape[1], dtype=torch.bool, device=vectors.device)
        figures = {"windows": float(len(fits))}
        for name, query in zip(QUERIES, vectors[1:], strict=True):
            figures[f"recall_{name}"] = retrieval(query, vectors[0], fits)["recall_1"]
        for name, own, labels in zip(("mix", *QUERIES), vectors, classes, strict=True):
            sounds = labels != SILENCE
            right = self.read(own).argmax(dim=2) == labels
            figures[f"pitch_{name}"] = right[sounds].float().mean().item()
        self.log_dict({f"val/{name}": value for name, value in figures.items()}, sync_dist=True)

    def configure_optimizers(self) -> Any:
        rate = partial(share_of_peak, steps=self.trainer.estimated_stepping_batches, warmup=self.warmup_steps)
        return scheduled(self.optimizer(self.parameters()), rate)

    def _labels_of_tokens(self) -> Tensor:
        """Which label [S] each token lies at the middle of."""
        count = self.part.frames_per_token
        middles = torch.arange(self.part.num_tokens) * count + (count - 1) / 2  # frames
        seconds = middles * self.part.hop_length / self.part.sample_rate
        return (seconds / LABEL_SECONDS).long().clamp(max=NUM_LABELS - 1)


def augment(bands: Tensor, classes: Tensor, *, views: int, white: Tensor) -> tuple[Tensor, Tensor]:
    """Bands [N, F, T] and their classes [N, labels] in other keys and worse sound; rows go by `views`.

    `white` [F] is the energy of white noise in each band.
    """
    count, device = len(bands), bands.device
    keys = torch.randint(-6, 6, (count // views, 1), device=device).expand(-1, views).reshape(count)
    tuning = torch.randint(-1, 2, (count,), device=device) * (torch.rand(count, device=device) < 0.4)
    bands = _moved(bands, keys * BANDS_PER_SEMITONE + tuning)
    classes = torch.where(classes < SILENCE, (classes + keys[:, None]) % 12, classes)

    place = torch.linspace(-1, 1, bands.shape[1], device=device)  # lowest to highest band
    waves = torch.rand(count, 3, 1, device=device) + torch.arange(3, device=device)[:, None] / 2  # [N, 3, 1]
    phases = torch.rand(count, 3, 1, device=device)
    curves = torch.sin(2 * math.pi * (phases + waves * place / 2))  # [N, 3, F]
    decibel = (8 * (torch.rand(count, 3, 1, device=device) - 0.5) * 2 * curves).sum(dim=1)
    bands = bands * 10 ** (decibel / 10)[:, :, None]

    noise = 10 ** (-(10 + 40 * torch.rand(count, 1, 1, device=device)) / 10)  # 10 to 50 dB under the sound
    colour = white * 2 ** (-3 * place * torch.rand(count, 1, device=device))  # white to pink, [N, F]
    noise = noise * (colour / colour.mean(dim=1, keepdim=True))[:, :, None]
    # The energy of noise is exponentially distributed.
    grains = torch.empty_like(bands).exponential_()
    return bands + bands.mean(dim=(1, 2), keepdim=True) * noise * grains, classes


def _moved(bands: Tensor, steps: Tensor) -> Tensor:
    """Bands [N, F, T] moved up by `steps` [N]; what comes in at an end is silence."""
    source = torch.arange(bands.shape[1], device=bands.device) - steps[:, None]  # [N, F]
    inside = (source >= 0) & (source < bands.shape[1])
    moved = bands.gather(1, source.clamp(0, bands.shape[1] - 1)[:, :, None].expand_as(bands))
    return moved * inside[:, :, None]
