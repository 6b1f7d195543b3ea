"""Training of MuLan: a recording and its captions attract, other pairs repel (MuLan, sec. 3).

The vocabulary is trained first, on the captions of the recordings. What attracts and what repels is decided
in contrastive.py, over the batches of all devices together.
"""

import io
import math
from collections.abc import Iterable, Sequence
from functools import partial
from typing import Any

import lightning
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional

from musiclm.data.sources import Recording
from musiclm.metrics.retrieval import retrieval
from musiclm.tokenizers.gather import items_from_all_devices, rows_from_all_devices
from musiclm.tokenizers.mulan import MuLan
from musiclm.tokenizers.mulan_towers import PADDING, START, UNKNOWN, normalise
from musiclm.training.contrastive import Described, contrastive_loss, pairs_of_all
from musiclm.training.schedules import scheduled, share_of_peak
from musiclm.training.seeds import seed_step
from musiclm.training.tempo_words import at_another_tempo

FIRST_TEMPERATURE = 0.07
MAX_SCALE = 100.0  # 1 / temperature, clipped there as in CLIP (2103.00020, sec. 2.5)


def train_vocabulary(sentences: Iterable[str], size: int) -> bytes:
    """A serialized sentencepiece model of at most `size` pieces, bytes among them for what has none."""
    import sentencepiece

    lines = [line for line in map(normalise, sentences) if line]
    if not lines:
        raise ValueError("expected captions to train the vocabulary on, got none")
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_writer=model,
        vocab_size=size,
        hard_vocab_limit=False,  # few captions have fewer pieces
        byte_fallback=True,
        split_digits=True,  # "120 bpm" is near "121 bpm"
        normalization_rule_name="identity",  # `normalise` has done it
        character_coverage=1.0,
        unk_id=UNKNOWN,
        pad_id=PADDING,
        bos_id=START,
        eos_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    return model.getvalue()


class MuLanTraining(lightning.LightningModule):
    """Contrastive training with a learned temperature, and retrieval on held-out recordings.

    Batches are those of `AudioCrops`. A step pairs each crop with several captions of its recording (the text
    tower is cheap), some of them two captions in one, so that long prompts are met too. Of captions that name
    a tempo, the same with another tempo are negatives.

    Args:
        part: the model to train.
        optimizer: made from the parameters.
        warmup_steps: of the learning rate, which then falls to 0 by half a cosine over the run.
        captions_per_crop: texts that each crop is paired with.
        join_share: fraction of the texts that are two captions in a row.
        unknown_share: fraction of the pieces that are replaced by the unknown one.
        gain_db: each crop is made louder or softer by up to this much.
        seed: of augmentation and dropout; a step's draw depends on the seed and the step alone.
    """

    role = "joint_embedding"  # in a bundle

    def __init__(
        self,
        part: MuLan,
        *,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        warmup_steps: int = 100,
        captions_per_crop: int = 2,
        join_share: float = 0.25,
        unknown_share: float = 0.1,
        gain_db: float = 10.0,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.part = part
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.captions_per_crop = captions_per_crop
        self.join_share = join_share
        self.unknown_share = unknown_share
        self.gain_db = gain_db
        self.seed = seed
        self.log_scale = nn.Parameter(torch.tensor(-math.log(FIRST_TEMPERATURE)))
        self._captions: dict[str, tuple[str, ...]] = {}
        self._seen: list[tuple[list[str], list[str], Tensor]] = []

    def setup(self, stage: str) -> None:
        """Train the vocabulary on the training recordings' captions, where the part has none."""
        datamodule: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        recordings: list[Recording] = datamodule.split("train")
        self._captions = {recording.id: recording.captions for recording in recordings if recording.captions}
        if not self._captions:
            raise ValueError(
                "expected recordings with captions (corpus.parquet, or song.txt beside song.wav), "
                f"got {len(recordings)} without"
            )
        if not len(self.part.text.vocabulary):
            captions = [caption for captions in self._captions.values() for caption in captions]
            model = train_vocabulary(captions, self.part.text.vocabulary_size)
            self.part.text.set_vocabulary(model, captions)

    def training_step(self, batch: dict[str, Any], index: int) -> Tensor | None:
        seed_step(self, self.seed)
        texts, rows = self._draw_texts(batch["caption"], batch["id"])
        devices = items_from_all_devices(Described(list(batch["id"]), texts, rows))
        true = {normalise(text) for device in devices for text in device.texts}
        if not true:  # Lightning skips a step on one device only; on several, nothing moves by this loss
            alone = self.trainer.world_size == 1
            return None if alone else 0.0 * torch.stack([p.sum() for p in self.parameters()]).sum()
        others = [other for other in map(at_another_tempo, texts) if other and normalise(other) not in true]
        if not texts:
            # A device without captions still takes its part: of all audio, and of the gradients.
            others = [""]
        positives = pairs_of_all(devices, items_from_all_devices(len(others)))  # [N, B]

        waveform = batch["waveform"]
        gain = 10 ** (self.gain_db / 20 * (2 * torch.rand(len(waveform), 1, 1, device=waveform.device) - 1))
        pieces = self.part.text.pieces(texts + others)
        dropped = (torch.rand(pieces.shape, device=pieces.device) < self.unknown_share) & (pieces > START)
        audio, text = self.part(waveform * gain, pieces.masked_fill(dropped, UNKNOWN))  # [B, D], [N, D]
        scale = self.log_scale.exp().clamp(max=MAX_SCALE)
        loss = contrastive_loss(audio, text, positives.to(text.device), scale)
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/temperature", 1 / self.log_scale.exp())
        return loss

    def on_validation_epoch_start(self) -> None:
        self._seen = []

    def validation_step(self, batch: dict[str, Any], index: int) -> None:
        self._seen.append((batch["caption"], batch["id"], self.part.embed_audio(batch["waveform"])))

    def on_validation_epoch_end(self) -> None:
        seen = [(captions, ids) for captions, ids, _ in self._seen]
        seen = [batch for device in items_from_all_devices(seen) for batch in device]
        captions = [caption for rows, _ in seen for caption in rows]
        ids = [id for _, rows in seen for id in rows]
        audio = rows_from_all_devices(torch.cat([vectors for _, _, vectors in self._seen]))  # [N, D]
        kept = [row for row, caption in enumerate(captions) if caption]
        if not kept:
            return
        candidates = list(dict.fromkeys(ids))  # recordings, each by the mean of its crops
        answers = torch.tensor([candidates.index(id) for id in ids], device=audio.device)
        means = torch.zeros(len(candidates), audio.shape[1], device=audio.device).index_add(0, answers, audio)
        text = self.part.embed_text([captions[row] for row in kept])
        fits = functional.one_hot(answers[kept], len(candidates)).bool()
        figures = retrieval(text, functional.normalize(means, dim=-1), fits)
        figures["candidates"] = float(len(candidates))
        figures["own_cosine"] = (text * audio[kept]).sum(1).mean().item()
        # How far apart the two modalities lie as wholes: 0 at best, up to 2.
        figures["gap"] = (text.mean(0) - audio.mean(0)).norm().item()
        self.log_dict({f"val/{name}": value for name, value in figures.items()}, sync_dist=True)

    def configure_optimizers(self) -> Any:
        rate = partial(share_of_peak, steps=self.trainer.estimated_stepping_batches, warmup=self.warmup_steps)
        return scheduled(self.optimizer(self.parameters()), rate)

    def _draw_texts(self, captions: Sequence[str], ids: Sequence[str]) -> tuple[list[str], list[int]]:
        """Texts, and the batch row that each belongs to; rows without captions have none."""
        texts: list[str] = []
        rows: list[int] = []
        for row, (caption, id) in enumerate(zip(captions, ids, strict=True)):
            choices = self._captions.get(id, ())
            if not caption:
                continue
            for number in range(self.captions_per_crop):
                text = caption if number == 0 or not choices else _pick(choices)
                if choices and torch.rand(()) < self.join_share:
                    text = f"{text} {_pick(choices)}"
                texts.append(text)
                rows.append(row)
        return texts, rows


def _pick(choices: Sequence[str]) -> str:
    return choices[int(torch.randint(len(choices), ()))]
