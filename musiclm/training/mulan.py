"""Training of MuLan: a recording and its captions attract, other pairs repel (MuLan, sec. 3).

The vocabulary is trained first, on the captions of the recordings. Captions name some attributes of a
recording and leave out others, so two recordings may fit one caption. What is known to be no negative is not
taken for one: crops of the same recording, and recordings with the same caption.
"""

import io
import math
from collections.abc import Iterable, Sequence
from typing import Any

import lightning
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor, nn
from torch.nn import functional

from musiclm.data.sources import Recording
from musiclm.tokenizers.mulan import MuLan
from musiclm.tokenizers.mulan_towers import PADDING, START, UNKNOWN, normalise
from musiclm.training.seeds import seed_step
from musiclm.training.tempo_words import at_another_tempo

FIRST_TEMPERATURE = 0.07
MAX_SCALE = 100.0  # 1 / temperature, clipped there as in CLIP (2103.00020, sec. 2.5)


def contrastive_loss(audio: Tensor, text: Tensor, positives: Tensor, scale: Tensor | float) -> Tensor:
    """Symmetric cross-entropy between audio [B, D] and text [N, D], both on the unit sphere.

    `positives` [N, B] is true where text and audio belong together; a row's (and a column's) target is spread
    evenly over them. With one positive each this is MuLan's loss. Texts that belong to nothing are negatives.
    """
    logits = scale * text @ audio.T  # [N, B]
    return (_cross_entropy(logits, positives) + _cross_entropy(logits.T, positives.T)) / 2


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


def retrieval(queries: Tensor, candidates: Tensor, answers: Tensor) -> dict[str, float]:
    """How well queries [N, D] find their answer [N] (an index) among candidates [M, D].

    recall_1 and recall_10 are fractions; median_rank counts from 1 (chance is about M / 2).
    """
    similarity = queries @ candidates.T  # [N, M]
    own = similarity.gather(1, answers[:, None])
    # Ties count half, so that a model that says the same of everything does not look perfect.
    rank = 1 + (similarity > own).sum(1) + ((similarity == own).sum(1) - 1) / 2
    return {
        "recall_1": (rank <= 1).float().mean().item(),
        "recall_10": (rank <= 10).float().mean().item(),
        "median_rank": rank.median().item(),
    }


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

    part_name = "mulan"  # in a bundle

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
        if not texts:
            return None
        waveform = batch["waveform"]
        gain = 10 ** (self.gain_db / 20 * (2 * torch.rand(len(waveform), 1, 1, device=waveform.device) - 1))
        true = set(map(normalise, texts))
        others = [other for other in map(at_another_tempo, texts) if other and normalise(other) not in true]
        pieces = self.part.text.pieces(texts + others)
        dropped = (torch.rand(pieces.shape, device=pieces.device) < self.unknown_share) & (pieces > START)
        audio, text = self.part(waveform * gain, pieces.masked_fill(dropped, UNKNOWN))

        positives = same_pair(batch["id"], texts, rows).to(text.device)
        positives = functional.pad(positives, (0, 0, 0, len(others)))  # these belong to nothing
        loss = contrastive_loss(audio, text, positives, self.log_scale.exp().clamp(max=MAX_SCALE))
        self.log("train/loss", loss, prog_bar=True)
        self.log("train/temperature", 1 / self.log_scale.exp())
        return loss

    def on_validation_epoch_start(self) -> None:
        self._seen = []

    def validation_step(self, batch: dict[str, Any], index: int) -> None:
        self._seen.append((batch["caption"], batch["id"], self.part.embed_audio(batch["waveform"])))

    def on_validation_epoch_end(self) -> None:
        captions = [caption for rows, _, _ in self._seen for caption in rows]
        ids = [id for _, rows, _ in self._seen for id in rows]
        audio = torch.cat([vectors for _, _, vectors in self._seen])  # [N, D]
        kept = [row for row, caption in enumerate(captions) if caption]
        if not kept:
            return
        candidates = list(dict.fromkeys(ids))  # recordings, each by the mean of its crops
        answers = torch.tensor([candidates.index(id) for id in ids], device=audio.device)
        means = torch.zeros(len(candidates), audio.shape[1], device=audio.device).index_add(0, answers, audio)
        text = self.part.embed_text([captions[row] for row in kept])
        figures = retrieval(text, functional.normalize(means, dim=-1), answers[kept])
        figures["candidates"] = float(len(candidates))
        figures["own_cosine"] = (text * audio[kept]).sum(1).mean().item()
        # How far apart the two modalities lie as wholes: 0 at best, up to 2.
        figures["gap"] = (text.mean(0) - audio.mean(0)).norm().item()
        self.log_dict({f"val/{name}": value for name, value in figures.items()})

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.parameters())
        total = self.trainer.estimated_stepping_batches

        def rate(step: int) -> float:
            if step < self.warmup_steps:
                return (step + 1) / self.warmup_steps
            if math.isinf(total):
                return 1.0
            done = (step - self.warmup_steps) / max(total - self.warmup_steps, 1)
            return 0.5 * (1 + math.cos(math.pi * min(done, 1.0)))

        scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def _draw_texts(self, captions: Sequence[str], ids: Sequence[str]) -> tuple[list[str], Tensor]:
        """Texts, and the batch row [N] that each belongs to; rows without captions have none."""
        texts, rows = [], []
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
        return texts, torch.tensor(rows)


def same_pair(ids: Sequence[str], texts: Sequence[str], rows: Tensor) -> Tensor:
    """[N, B]: true where text n is known to fit crop b.

    Text n was drawn for crop `rows[n]`. It also fits other crops of the same recording, and crops that come
    with the very same text.
    """
    number = {id: index for index, id in enumerate(dict.fromkeys(ids))}
    recording = torch.tensor([number[id] for id in ids])  # [B]
    spelling = {text: index for index, text in enumerate(dict.fromkeys(map(normalise, texts)))}
    text = torch.tensor([spelling[normalise(text)] for text in texts])  # [N]
    same_text = (text[:, None] == text[None, :]).float()  # [N, N]
    own = functional.one_hot(recording[rows], len(number)).float()  # [N, recordings]
    return ((same_text @ own) > 0)[:, recording]


def _cross_entropy(logits: Tensor, positives: Tensor) -> Tensor:
    """Mean over rows that have a positive, of the cross-entropy against an even spread over the positives."""
    counted = positives.any(dim=1)
    targets = positives.float() / positives.sum(dim=1, keepdim=True).clamp(min=1)
    return -(targets * logits.log_softmax(dim=1)).sum(dim=1)[counted].mean()


def _pick(choices: Sequence[str]) -> str:
    return choices[int(torch.randint(len(choices), ()))]
