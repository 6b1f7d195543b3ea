"""Learning the residual quantizer of MuLan's embeddings (MusicLM, sec. 3.1): no gradients, one pass, k-means.

Embeddings of random crops are collected, and at the end of each epoch faiss learns the codebooks from all of
them. Validation says how far tokens of text reach what tokens of audio say: the stages are trained on the
latter and generate from the former.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning
import torch
from torch import Tensor, nn

from musiclm.bundle import load_part
from musiclm.retrieval import retrieval
from musiclm.tokenizers.rvq import ResidualQuantizer


class ResidualQuantizerTraining(lightning.LightningModule):
    """Collects MuLan's embeddings of the batches of `AudioCrops` and learns the codebooks from them.

    Args:
        part: the quantizer to train.
        mulan: bundle of the trained MuLan (`runs/mulan/part`).
        text_share: captions of this fraction of the crops are collected beside the audio.
        iterations: of k-means, per level.
        seed: of k-means.
    """

    vectors: Tensor

    part_name = "mulan_rvq"  # in a bundle

    def __init__(
        self,
        part: ResidualQuantizer,
        *,
        mulan: Path,
        text_share: float = 0.0,
        iterations: int = 25,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.part = part
        self.text_share = text_share
        self.iterations = iterations
        self.seed = seed
        self.automatic_optimization = False
        self._mulan = [load_part(mulan)]  # in a list: the frozen MuLan is no part of this module's state
        if self._mulan[0].dimension != part.dimension:
            raise ValueError(
                f"expected a quantizer of dimension {self._mulan[0].dimension}, as {mulan} has it, "
                f"got {part.dimension}"
            )
        self.register_buffer("vectors", torch.zeros(0, part.dimension))  # [N, dimension], all so far
        self._learned_from = 0
        self._seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def setup(self, stage: str) -> None:
        self._mulan[0].to(self.device)

    def training_step(self, batch: dict[str, Any], index: int) -> None:
        audio, text, _ = self._embed(batch)
        text = text[: round(self.text_share * len(audio))]
        self.vectors = torch.cat([self.vectors, audio, text])
        optimizer: Any = self.optimizers()
        optimizer.step()

    def on_train_epoch_end(self) -> None:
        self._learn()

    def on_validation_epoch_start(self) -> None:
        if self.trainer.training or self.trainer.state.fn == "fit":
            self._learn()  # validation comes before the end of the epoch
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

    def configure_optimizers(self) -> torch.optim.Optimizer:
        # Nothing is optimized, but Lightning counts steps, and saves checkpoints, by an optimizer's.
        return torch.optim.SGD([nn.Parameter(torch.zeros(()))], lr=0.0)

    def _learn(self) -> None:
        if self._learned_from == len(self.vectors):
            return
        cosines = self.part.fit(self.vectors, iterations=self.iterations, seed=self.seed)
        self._learned_from = len(self.vectors)
        self.print(f"{len(self.vectors)} vectors, cosine after each level: {[round(c, 4) for c in cosines]}")

    def _embed(self, batch: dict[str, Any]) -> tuple[Tensor, Tensor, Tensor]:
        """Audio embeddings [B, D], text embeddings [M, D] and the rows [M] that have a caption."""
        rows = [row for row, caption in enumerate(batch["caption"]) if caption]
        audio = self._mulan[0].embed_audio(batch["waveform"])
        text = self._mulan[0].embed_text([batch["caption"][row] for row in rows])
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

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *args: Any) -> None:
        stored = state_dict.get(prefix + "vectors")
        if stored is not None:  # their number is not known before they are read
            self.vectors = torch.empty_like(stored, device=self.vectors.device)
        super()._load_from_state_dict(state_dict, prefix, *args)
