"""Learning residual quantizers of embeddings (MusicLM, sec. 3.1, appendix C): one pass of k-means.

Embeddings of random crops are collected, and at the end of each epoch faiss learns the codebooks from all of
them. MuLan's validation says how far tokens of text reach what tokens of audio say: the stages are trained on
the latter and generate from the former. That of melodies says the same of a tune hummed and the whole band's.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from musiclm.bundle import load_component
from musiclm.data.melody_windows import QUERIES
from musiclm.metrics.retrieval import retrieval
from musiclm.tokenizers.rvq import ResidualQuantizer


class QuantizerTraining(lightning.LightningModule, ABC):
    """Collects the embeddings of every batch and learns the codebooks from them; what of, its kinds say.

    Args:
        part: the quantizer to train.
        teacher: what embeds; frozen, and no part of this module's state.
        bundle: where it came from.
        iterations: of k-means, per level.
        seed: of k-means.
    """

    vectors: Tensor

    def __init__(
        self, part: ResidualQuantizer, teacher: Any, bundle: Path, *, iterations: int, seed: int
    ) -> None:
        super().__init__()
        self.part = part
        self.iterations = iterations
        self.seed = seed
        self.automatic_optimization = False
        self._teacher = [teacher]  # in a list: nn.Module would take it for its own
        if teacher.dimension != part.dimension:
            raise ValueError(
                f"expected a quantizer of dimension {teacher.dimension}, as {bundle} has it, "
                f"got {part.dimension}"
            )
        self.register_buffer("vectors", torch.zeros(0, part.dimension))  # [N, dimension], all so far
        self._learned_from = 0

    @abstractmethod
    def collect(self, batch: dict[str, Any]) -> Tensor:
        """Embeddings [n, dimension] to learn from."""

    def setup(self, stage: str) -> None:
        self._teacher[0].to(self.device)

    def training_step(self, batch: dict[str, Any], index: int) -> None:
        self.vectors = torch.cat([self.vectors, self.collect(batch)])
        optimizer: Any = self.optimizers()
        optimizer.step()

    def on_train_epoch_end(self) -> None:
        self._learn()

    def on_validation_epoch_start(self) -> None:
        if self.trainer.training or self.trainer.state.fn == "fit":
            self._learn()  # validation comes before the end of the epoch

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # Nothing is optimized, but Lightning counts steps, and saves checkpoints, by an optimizer's.
        return torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=0.0)

    def _learn(self) -> None:
        if self._learned_from == len(self.vectors):
            return
        cosines = self.part.fit(self.vectors, iterations=self.iterations, seed=self.seed)
        self._learned_from = len(self.vectors)
        self.print(f"{len(self.vectors)} vectors, cosine after each level: {[round(c, 4) for c in cosines]}")

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        stored = state_dict.get(prefix + "vectors")
        if stored is not None:  # their number is not known before they are read
            self.vectors = torch.empty_like(stored, device=self.vectors.device)
        super()._load_from_state_dict(state_dict, prefix, *args)


class ResidualQuantizerTraining(QuantizerTraining):
    """Of MuLan's embeddings; batches are those of `AudioCrops`.

    Args:
        part: the quantizer to train.
        mulan: bundle of the trained MuLan (`runs/mulan/part`).
        text_share: captions of this fraction of the crops are collected beside the audio.
        iterations: of k-means, per level.
        seed: of k-means.
    """

    role = "joint_quantizer"  # in a bundle

    def __init__(
        self,
        part: ResidualQuantizer,
        *,
        mulan: Path,
        text_share: float = 0.0,
        iterations: int = 25,
        seed: int = 0,
    ) -> None:
        super().__init__(part, load_component(mulan), mulan, iterations=iterations, seed=seed)
        self.text_share = text_share
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def collect(self, batch: dict[str, Any]) -> Tensor:
        audio, text, _ = self._embed(batch)
        return torch.cat([audio, text[: round(self.text_share * len(audio))]])

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._seen = []

    def validation_step(self, batch: dict[str, Any], index: int) -> None:
        self._seen.append(self._embed(batch))

    def on_validation_epoch_end(self) -> None:
        audio = torch.cat([vectors for vectors, _, _ in self._seen])  # [N, dimension]
        figures = {f"cosine_{n}": value for n, value in enumerate(self.part.reconstruction(audio), start=1)}
        text = torch.cat([vectors for _, vectors, _ in self._seen])  # [M, dimension]
        if len(text):
            own = torch.cat([audio[rows] for audio, _, rows in self._seen])  # [M, dimension]
            figures |= self._agreement(text, own)
        self.log_dict({f"val/{name}": value for name, value in figures.items()})

    def _embed(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Audio embeddings [B, D], text embeddings [M, D] and the rows [M] that have a caption."""
        rows = [row for row, caption in enumerate(batch["caption"]) if caption]
        audio = self._teacher[0].embed_audio(batch["waveform"])
        text = self._teacher[0].embed_text([batch["caption"][row] for row in rows])
        return audio, text, torch.tensor(rows, dtype=torch.long, device=audio.device)

    def _agreement(self, text: Tensor, audio: Tensor) -> dict[str, float]:
        """Between tokens of captions and of the crops they describe; chance is that of other crops."""
        text_codes, audio_codes = self.part.encode(text), self.part.encode(audio)  # [M, Q]
        same = text_codes[:, None, 0] == audio_codes[None, :, 0]  # [M, M]
        others = same.float().mean() - same.diagonal().float().mean() / len(same)
        return {
            "text_cosine": self.part.reconstruction(text)[-1],
            "agreement": same.diagonal().float().mean().item(),
            "agreement_by_chance": others.item(),
            **{
                f"token_{name}": value
                for name, value in retrieval(
                    nn.functional.normalize(self.part.decode(text_codes), dim=-1),
                    nn.functional.normalize(self.part.decode(audio_codes), dim=-1),
                    torch.eye(len(text), dtype=torch.bool, device=text.device),
                ).items()
            },
        }


class MelodyQuantizerTraining(QuantizerTraining):
    """Of melody embeddings, of mixes and voices alike; batches are those of `MelodyVersions`.

    Args:
        part: the quantizer to train.
        melody: bundle of the trained melody embedding (`runs/melody/part`).
        iterations: of k-means, per level.
        seed: of k-means.
    """

    role = "melody_quantizer"  # in a bundle

    def __init__(self, part: ResidualQuantizer, *, melody: Path, iterations: int = 25, seed: int = 0) -> None:
        super().__init__(part, load_component(melody), melody, iterations=iterations, seed=seed)
        self._seen: list[Tensor] = []

    def collect(self, batch: dict[str, Any]) -> Tensor:
        return self._embed(batch).flatten(0, 1)

    def on_validation_epoch_start(self) -> None:
        super().on_validation_epoch_start()
        self._seen = []

    def validation_step(self, batch: dict[str, Any], index: int) -> None:
        self._seen.append(self._embed(batch))

    def on_validation_epoch_end(self) -> None:
        mix, *queries = torch.cat(self._seen).unbind(dim=1)  # [N, dimension] each
        figures = {f"cosine_{n}": value for n, value in enumerate(self.part.reconstruction(mix), start=1)}
        decoded = self._decoded(mix)
        fits = torch.eye(len(mix), dtype=torch.bool, device=mix.device)
        for name, query in zip(QUERIES, queries, strict=True):
            figures[f"cosine_{name}"] = self.part.reconstruction(query)[-1]
            figures[f"token_recall_{name}"] = retrieval(self._decoded(query), decoded, fits)["recall_1"]
        self.log_dict({f"val/{name}": value for name, value in figures.items()})

    def _decoded(self, vectors: Tensor) -> Tensor:
        """What the tokens of vectors [N, dimension] say, back on the sphere."""
        return nn.functional.normalize(self.part.decode(self.part.encode(vectors)), dim=-1)

    @torch.no_grad()
    def _embed(self, batch: dict[str, Any]) -> Tensor:
        """Embeddings [M, V, dimension] of M windows in V versions."""
        windows = batch["waveform"]  # [M, V, 1, L]
        vectors: Tensor = self._teacher[0](windows.flatten(0, 1))
        return vectors.unflatten(0, windows.shape[:2])
