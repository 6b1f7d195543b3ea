"""Random crops of a token store: what the stages train on.

A batch is a dict of codes by stream, [B, levels, frames], all of the same stretch of music: `mulan`
[B, 12, 1], `semantic` [B, 1, T], `acoustic` [B, Q, T'] and what else the store has, as `melody` [B, 24, W].
As in `musiclm.data.crops`, which crop comes when depends on seed and step alone.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from musiclm.bundle import Bundle, load_component
from musiclm.data.cutting import crop_embedding, crop_windows, tokens_of
from musiclm.data.loading import (
    ResumableLoader,
    ResumableSampler,
    check_any_to_train_on,
    check_crops,
    no_validation,
)
from musiclm.data.remote import brought_here
from musiclm.data.store import (
    StoreDescription,
    TokenRow,
    TokenStore,
    quantizer_of,
    read_codebooks,
    read_description,
)
from musiclm.data.store_rows import StoreRows
from musiclm.files import shown
from musiclm.stages.streams import MADE_BY, Stream
from musiclm.tokenizers.protocols import JointEmbedding

CAPTION = "caption"  # in a batch until it is embedded; "" where the embedding of the audio stays


class TokenCropDataset(Dataset[dict[str, Any]]):
    """Item `i` is the i-th random crop: of each stream its tokens int64 [levels, T] or latents [size, T] of
    that time, or its embeddings, [D] of the whole crop or [W, D] one every hop; and in a share of them a
    caption, to be embedded in the audio's place.

    Crops begin where a semantic token does, and a window of every embedding that is told along the crop.
    """

    def __init__(
        self,
        rows: StoreRows,
        seconds: float,
        *,
        seed: int,
        noise: Mapping[str, float] | None = None,
        clear_of_end: float = 0.0,
        captions: float = 0.0,
    ) -> None:
        self.noise = noise or {}
        self.captions = captions
        self.description = rows.store.description
        self.seconds = seconds
        self.seed = seed
        self.clock = self.description["semantic"].rate
        self.tokens = round(seconds * self.clock)
        self.grid = grid_of(self.description)
        free = places(rows, seconds, clear_of_end=clear_of_end)
        self.rows, self.places = rows.where(free > 0), free[free > 0]
        if not self.rows:
            raise ValueError(
                f"expected recordings of at least {seconds + clear_of_end} s in the token store, the longest "
                f"is {max(rows.seconds(), default=0):.1f} s: use a smaller --data.init_args.seconds"
            )
        self.until = self.rows.seconds().cumsum()  # a recording is drawn as often as it is long

    def __getitem__(self, index: int) -> dict[str, Any]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + index)
        second = float(torch.rand((), dtype=torch.float64, generator=generator)) * self.until[-1]
        number = min(int(self.until.searchsorted(second, side="right")), len(self.rows) - 1)
        row = self.rows[number]
        first = int(torch.randint(int(self.places[number]), (), generator=generator)) * self.grid
        item = {stream.name: self._cut(row, stream, first, generator) for stream in self.description.streams}
        return item if self.captions == 0 else {**item, CAPTION: self._caption(row, generator)}

    def _caption(self, row: TokenRow, generator: torch.Generator) -> str:
        """A caption of the recording, if its embedding is to stand for the audio's; otherwise nothing."""
        draw, which = torch.rand(2, generator=generator).tolist()
        return row.captions[int(which * len(row.captions))] if row.captions and draw < self.captions else ""

    def _cut(self, row: TokenRow, stream: Stream, first: int, generator: torch.Generator) -> Tensor:
        """A stream of the crop that begins at a semantic token."""
        if stream.kind == "embeddings":
            cut = crop_windows if stream.hop else crop_embedding
            vectors = cut(row, stream, start=first / self.clock, seconds=self.seconds)
            return blurred(torch.from_numpy(vectors), self.noise.get(stream.name, 0.0), generator)
        ratio = stream.rate / self.clock
        values = row.streams[stream.name][:, round(first * ratio) : round((first + self.tokens) * ratio)]
        if stream.kind == "tokens":
            return torch.from_numpy(tokens_of(values))
        return torch.from_numpy(values.astype(np.float32))


def grid_of(description: StoreDescription) -> int:
    """How many semantic tokens apart crops begin: where a window does, if any are told along the crop."""
    clock = description["semantic"].rate
    return max((round(clock / stream.rate) for stream in description.embeddings if stream.hop), default=1)


def places(rows: StoreRows, seconds: float, *, clear_of_end: float = 0.0) -> np.ndarray:
    """How many places a crop of each recording may begin at, int64 [rows]: 0 or fewer in one too short."""
    description = rows.store.description
    rate = description["semantic"].rate
    lengths = [
        (rows.frames(stream) / (stream.rate / rate)).astype(np.int64)
        for stream in description.streams
        if stream.kind != "embeddings"
    ]
    free: np.ndarray = np.min(lengths, axis=0) - round(clear_of_end * rate) - round(seconds * rate)
    return free // grid_of(description) + 1


def blurred(vectors: Tensor, noise: float, generator: torch.Generator) -> Tensor:
    """Unit vectors [..., D] with a random vector of length `noise` added to each, back on the sphere."""
    random = torch.randn(vectors.shape, generator=generator) / vectors.shape[-1] ** 0.5
    return torch.nn.functional.normalize(vectors + noise * random, dim=-1)


class TokenCrops(lightning.LightningDataModule):
    """Batches of token crops.

    Args:
        tokens: the folder of a token store.
        seconds: length of a crop.
        batch_size: crops in a batch.
        crops_per_epoch: an epoch is this many crops.
        validation_crops: fixed crops of held-out recordings.
        noise: by stream, the length of a random vector added to a training crop's embeddings, themselves of
            length 1. From few recordings, a stage would learn their exact conditioning tokens by heart, and
            find none of them in a prompt's; MuLan's noise should be about as long as text and audio are
            apart, the melody's as a hum and the music.
        clear_of_end: seconds at the end of every training recording that no crop reaches. A stage that has
            heard pieces fade out and stop does the same in the middle of what it generates.
        captions: share of the training crops that are told the embedding of one of their recording's
            captions, as prompts will be embedded, in the place of the audio's own. MusicLM has none, and so
            needs no captions; with them a stage learns what words mean, and not only what lies near them.
        joint_embedding: the bundle, or folder of the trained part, whose joint embedding embeds them: the one
            that the tokens were made with.
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
        noise: dict[str, float] | None = None,
        clear_of_end: float = 0.0,
        captions: float = 0.0,
        joint_embedding: str = "default",
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_crops(seconds, batch_size=batch_size, crops_per_epoch=crops_per_epoch)
        if not 0 <= captions <= 1:
            raise ValueError(f"expected captions to be a share of the crops, in [0, 1], got {captions:g}")
        self.tokens = brought_here(Path(tokens))
        self.seconds = seconds
        self.batch_size = batch_size
        self.crops_per_epoch = crops_per_epoch
        self.validation_crops = validation_crops
        self.noise = noise or {}
        self.clear_of_end = clear_of_end
        self.seed = seed
        self.description = read_description(self.tokens)
        self.quantizers = {
            stream.name: load_component(quantizer_of(self.tokens, stream.made_by[-1]))
            for stream in self.description.embeddings
        }
        self.captions = captions
        self.text = self._text_of(joint_embedding) if captions else None
        if unknown := [name for name in self.noise if name not in {*self.quantizers, *MADE_BY}]:
            raise ValueError(f"expected noise of {', '.join(self.quantizers)}, got that of {unknown[0]!r}")
        # By stream, what the stages' embeddings start from
        self.codebooks = read_codebooks(self.tokens)
        self.codebooks |= {name: quantizer.codebooks for name, quantizer in self.quantizers.items()}
        self._store: TokenStore | None = None

    @property
    def streams(self) -> tuple[Stream, ...]:
        """The streams of a batch: what stages are built for."""
        return tuple(
            stream.as_tokens(quantizer.num_quantizers, quantizer.codebook_size)
            if (quantizer := self.quantizers.get(stream.name))
            else stream
            for stream in self.description.streams
        )

    def split(self, name: str) -> StoreRows:
        """The rows of a split; those of `valid` may be none.

        Raises:
            ValueError: there are none to train on.
        """
        self._store = self._store or TokenStore(self.tokens)
        chosen = StoreRows.of_split(self._store, name)
        if name == "train":
            check_any_to_train_on(len(chosen), shown(self.tokens))
        return chosen

    def unmeasured(self) -> str | None:
        """Why nothing can be measured; None where a held-out recording is as long as a crop."""
        held_out = self.split("valid")
        if not held_out:
            return f"no recording of {shown(self.tokens)} is held out"
        if not self._measurable():
            longest = max(held_out.seconds())
            return (
                f"no held-out recording of {shown(self.tokens)} is as long as a crop of {self.seconds:g} s, "
                f"the longest is {longest:.1f} s"
            )
        return None

    def train_dataloader(self) -> DataLoader:
        data = TokenCropDataset(
            self.split("train"),
            self.seconds,
            seed=self.seed,
            noise=self.noise,
            clear_of_end=self.clear_of_end,
            captions=self.captions,
        )
        sampler = ResumableSampler(self.crops_per_epoch, self)
        return ResumableLoader(data, batch_size=self.batch_size, sampler=sampler, drop_last=True)

    def val_dataloader(self) -> DataLoader | list[DataLoader]:
        if reason := self.unmeasured():
            return no_validation(reason, self.trainer)
        data = TokenCropDataset(self._measurable(), self.seconds, seed=-1)
        return DataLoader(data, batch_size=self.batch_size, sampler=range(self.validation_crops))

    def _measurable(self) -> StoreRows:
        """The held-out rows that a crop has a place in."""
        held_out = self.split("valid")
        return held_out.where(places(held_out, self.seconds) > 0)

    def on_after_batch_transfer(self, batch: dict[str, Any], dataloader_idx: int) -> dict[str, Any]:
        """Embeddings [B, D] or [B, W, D] to conditioning tokens [B, levels, 1 or W], on the device."""
        codes = {}
        if CAPTION in batch:
            batch = self._told_captions(batch)
        for name, quantizer in self.quantizers.items():
            vectors = batch[name] if batch[name].dim() == 3 else batch[name][:, None]  # [B, W, D]
            tokens = quantizer.to(vectors.device).encode(vectors.flatten(0, 1))  # [B * W, levels]
            codes[name] = tokens.unflatten(0, vectors.shape[:2]).transpose(1, 2)
        return {**batch, **codes}

    def _told_captions(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch with the embeddings of its captions in the place of the audio's."""
        assert self.text is not None
        told = [place for place, text in enumerate(batch[CAPTION]) if text]
        vectors = batch["mulan"].clone()
        if told:
            vectors[told] = self.text.embed_text([batch[CAPTION][place] for place in told]).to(vectors)
        return {name: each for name, each in batch.items() if name != CAPTION} | {"mulan": vectors}

    def _text_of(self, name: str) -> JointEmbedding:
        """The joint embedding that the tokens were made with.

        Raises:
            FileNotFoundError, ValueError: there is none, or another.
        """
        role = "joint_embedding"
        bundle = Bundle.find(name)
        made = self.description.fingerprints.get(role, "")
        if not bundle.component(role).is_known_as(made):
            raise ValueError(
                f"expected the joint embedding that {shown(self.tokens)} was made with ({made or 'none'}), "
                f"{bundle.path} has {bundle.fingerprint(role)}: name its bundle with "
                "--data.init_args.joint_embedding"
            )
        loaded: JointEmbedding = bundle.load(role)
        return loaded
