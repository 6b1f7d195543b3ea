"""Random crops of a token store: what the stages train on.

A batch is a dict of codes: `mulan` [B, 12, 1], `semantic` [B, 1, T], `acoustic` [B, Q, T'] and, of a store
with melodies, `melody` [B, 24, W], all of the same stretch of music. As in `musiclm.data.crops`, which crop
comes when depends on seed and step alone.
"""

import math
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from musiclm.bundle import load_component
from musiclm.data.loading import (
    ResumableLoader,
    ResumableSampler,
    check_any_to_train_on,
    check_crops,
    no_validation,
)
from musiclm.data.store import (
    MELODY_QUANTIZER,
    QUANTIZER,
    StoreDescription,
    TokenRow,
    TokenStore,
    quantizer_of,
    read_codebooks,
    read_description,
)
from musiclm.files import shown
from musiclm.tokenizers.melody import HOP_SECONDS


class TokenCropDataset(Dataset[dict[str, Tensor]]):
    """Item `i` is the i-th random crop: MuLan embedding [D], semantic [1, T], acoustic [Q, T'].

    Of a store with melodies, also their embeddings [W, D]; crops then begin where a window of them does.
    """

    def __init__(
        self,
        rows: list[TokenRow],
        description: StoreDescription,
        seconds: float,
        *,
        seed: int,
        mulan_noise: float = 0.0,
        melody_noise: float = 0.0,
        clear_of_end: float = 0.0,
    ) -> None:
        self.mulan_noise = mulan_noise
        self.melody_noise = melody_noise
        self.clear_of_end = clear_of_end
        self.description = description
        self.seconds = seconds
        self.seed = seed
        self.tokens = round(seconds * description.semantic_frame_rate)
        self.grid = grid_of(description)
        self.ratio = description.acoustic_frame_rate / description.semantic_frame_rate
        self.rows = [row for row in rows if self._places(row) > 0]
        if not self.rows:
            raise ValueError(
                f"expected recordings of at least {seconds + clear_of_end} s in the token store, the longest "
                f"is {max((row.seconds for row in rows), default=0):.1f} s: "
                "use a smaller --data.init_args.seconds"
            )
        self.weights = torch.tensor([row.seconds for row in self.rows], dtype=torch.float64)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        row = self.rows[int(torch.multinomial(self.weights, 1, generator=generator))]
        first = int(torch.randint(self._places(row), (), generator=generator)) * self.grid
        semantic = row.semantic[first : first + self.tokens]
        start, end = round(first * self.ratio), round((first + self.tokens) * self.ratio)
        begin = first / self.description.semantic_frame_rate
        embedding = crop_embedding(row, self.description, start=begin, seconds=self.seconds)
        crop = {
            "mulan": blurred(torch.from_numpy(embedding), self.mulan_noise, generator),  # [D]
            "semantic": torch.from_numpy(semantic.astype(np.int64))[None],
            "acoustic": torch.from_numpy(row.acoustic[:, start:end].astype(np.int64)),
        }
        if self.description.melody_dimension:
            windows = crop_melody(row, self.description, start=begin, seconds=self.seconds)
            crop["melody"] = blurred(torch.from_numpy(windows), self.melody_noise, generator)  # [W, D]
        return crop

    def _places(self, row: TokenRow) -> int:
        return places(row, self.description, self.seconds, clear_of_end=self.clear_of_end)


def grid_of(description: StoreDescription) -> int:
    """How many semantic tokens apart crops begin: where a window of the melody does, if there are any."""
    stride = description.melody_stride_seconds * description.semantic_frame_rate
    return round(stride) if description.melody_dimension else 1


def places(row: TokenRow, description: StoreDescription, seconds: float, *, clear_of_end: float = 0.0) -> int:
    """How many places a crop of a recording may begin at; none (0 or fewer) in one shorter than a crop."""
    rate = description.semantic_frame_rate
    length = min(len(row.semantic), int(row.acoustic.shape[1] / (description.acoustic_frame_rate / rate)))
    free = length - round(clear_of_end * rate) - round(seconds * rate)
    return free // grid_of(description) + 1


def blurred(vectors: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Unit vectors [..., D] with a random vector of length `noise` added to each, back on the sphere."""
    random = torch.randn(vectors.shape, generator=generator) / vectors.shape[-1] ** 0.5
    return torch.nn.functional.normalize(vectors + noise * random, dim=-1)


def crop_embedding(
    row: TokenRow, description: StoreDescription, *, start: float, seconds: float
) -> np.ndarray:
    """The MuLan embedding [D] of a stretch: mean of the windows whose middle lies in it, or the nearest one.

    The paper averages windows over the crop (sec. 4.1); so do we, but our crops may be shorter than a window,
    so it may reach beyond them by half its length on either side.
    """
    half = description.mulan_window_seconds / 2
    middles = np.arange(len(row.mulan)) * description.mulan_stride_seconds + half
    inside = (middles >= start) & (middles <= start + seconds)
    if not inside.any():
        inside[np.abs(middles - (start + seconds / 2)).argmin()] = True
    mean = row.mulan[inside].astype(np.float32).mean(axis=0)
    return mean / max(float(np.linalg.norm(mean)), 1e-8)


def crop_melody(row: TokenRow, description: StoreDescription, *, start: float, seconds: float) -> np.ndarray:
    """The melody embeddings [W, D] of a stretch, a window every 3 s from its start, W = ceil(seconds / 3)."""
    begins = start + HOP_SECONDS * np.arange(math.ceil(seconds / HOP_SECONDS))
    rows = np.round(begins / description.melody_stride_seconds).astype(np.int64)
    return row.melody[rows.clip(max=len(row.melody) - 1)].astype(np.float32)


class TokenCrops(lightning.LightningDataModule):
    """Batches of token crops.

    Args:
        tokens: the folder of a token store.
        seconds: length of a crop.
        batch_size: crops in a batch.
        crops_per_epoch: an epoch is this many crops.
        validation_crops: fixed crops of held-out recordings.
        mulan_noise: length of a random vector added to a training crop's embedding, itself of length 1.
            From few recordings, a stage would learn their exact conditioning tokens by heart, and find none
            of them in a prompt's; the noise should be about as long as text and audio are apart.
        melody_noise: the same for the melody's embeddings; about as far as a hum and the music are apart.
        clear_of_end: seconds at the end of every training recording that no crop reaches. A stage that has
            heard pieces fade out and stop does the same in the middle of what it generates.
        seed: of the draw of crops.
    """

    def __init__(
        self,
        tokens: Path,
        seconds: float,
        *,
        batch_size: int = 16,
        crops_per_epoch: int = 4096,
        validation_crops: int = 64,
        mulan_noise: float = 0.0,
        melody_noise: float = 0.0,
        clear_of_end: float = 0.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_crops(seconds, batch_size=batch_size, crops_per_epoch=crops_per_epoch)
        self.tokens = Path(tokens)
        self.seconds = seconds
        self.batch_size = batch_size
        self.crops_per_epoch = crops_per_epoch
        self.validation_crops = validation_crops
        self.mulan_noise = mulan_noise
        self.melody_noise = melody_noise
        self.clear_of_end = clear_of_end
        self.seed = seed
        self.description = read_description(self.tokens)
        self.quantizers = {"mulan": load_component(quantizer_of(self.tokens, QUANTIZER))}
        if self.description.melody_dimension:
            self.quantizers["melody"] = load_component(quantizer_of(self.tokens, MELODY_QUANTIZER))
        # By source, what the stages' embeddings start from
        self.codebooks = read_codebooks(self.tokens)
        self.codebooks |= {name: quantizer.codebooks for name, quantizer in self.quantizers.items()}
        self._rows: list[TokenRow] = []
        # What the stages are linked to (`musiclm.training.cli.LINKS`)
        self.mulan_levels = self.quantizers["mulan"].num_quantizers
        self.mulan_codebook_size = self.quantizers["mulan"].codebook_size
        melody = self.quantizers.get("melody")
        self.melody_levels = melody.num_quantizers if melody else 0
        self.melody_codebook_size = melody.codebook_size if melody else 0
        self.semantic_codebook_size = self.description.semantic_codebook_size
        self.semantic_frame_rate = self.description.semantic_frame_rate
        self.acoustic_codebook_size = self.description.acoustic_codebook_size
        self.acoustic_frame_rate = self.description.acoustic_frame_rate
        self.acoustic_levels = self.description.num_quantizers

    def split(self, name: str) -> list[TokenRow]:
        """The rows of a split; those of `valid` may be none.

        Raises:
            ValueError: there are none to train on.
        """
        if not self._rows:
            self._rows = list(TokenStore(self.tokens))
        chosen = [row for row in self._rows if row.split == name]
        if name == "train":
            check_any_to_train_on(len(chosen), shown(self.tokens))
        return chosen

    def unmeasured(self) -> str | None:
        """Why nothing can be measured; None where a held-out recording is as long as a crop."""
        held_out = self.split("valid")
        if not held_out:
            return f"no recording of {shown(self.tokens)} is held out"
        if not self._measurable():
            longest = max(row.seconds for row in held_out)
            return (
                f"no held-out recording of {shown(self.tokens)} is as long as a crop of {self.seconds:g} s, "
                f"the longest is {longest:.1f} s"
            )
        return None

    def train_dataloader(self) -> DataLoader:
        data = TokenCropDataset(
            self.split("train"),
            self.description,
            self.seconds,
            seed=self.seed,
            mulan_noise=self.mulan_noise,
            melody_noise=self.melody_noise,
            clear_of_end=self.clear_of_end,
        )
        sampler = ResumableSampler(self.crops_per_epoch, self)
        return ResumableLoader(data, batch_size=self.batch_size, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        if reason := self.unmeasured():
            return no_validation(reason, self.trainer)
        data = TokenCropDataset(self._measurable(), self.description, self.seconds, seed=-1)
        return DataLoader(data, batch_size=self.batch_size, sampler=range(self.validation_crops))

    def _measurable(self) -> list[TokenRow]:
        """The held-out rows that a crop has a place in."""
        return [row for row in self.split("valid") if places(row, self.description, self.seconds) > 0]

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Embeddings [B, D] or [B, W, D] to conditioning tokens [B, levels, 1 or W], on the device."""
        codes = {}
        for name, quantizer in self.quantizers.items():
            vectors = batch[name] if batch[name].dim() == 3 else batch[name][:, None]  # [B, W, D]
            tokens = quantizer.to(vectors.device).encode(vectors.flatten(0, 1))  # [B * W, levels]
            codes[name] = tokens.unflatten(0, vectors.shape[:2]).transpose(1, 2)
        return {**batch, **codes}
