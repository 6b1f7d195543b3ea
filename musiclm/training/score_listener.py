"""Training of the listener of scores: what the labels of recordings say of every moment, from their sound.

Crops come from `AudioCrops`; their labels are their recordings', as `musiclm/score/labels.py` reads them.
What labels do not say is not learned, so that recordings with some of them, or none, do no harm.
"""

from functools import partial
from typing import Any

import lightning
import torch
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from torch.nn import functional

from musiclm.data.crops import AudioCrops
from musiclm.data.sources import Recording
from musiclm.score.agreement import agreement
from musiclm.score.labels import score_of_labels
from musiclm.score.listener import LEVEL, Activations, ScoreListener
from musiclm.score.score import Score
from musiclm.training.schedules import scheduled, share_of_peak
from musiclm.training.score_targets import (
    UNKNOWN,
    Targets,
    coloured,
    interrupted,
    of_crop,
    resampled,
    targets_of,
)
from musiclm.training.seeds import seed_step

SEMITONES = 3  # that a batch is played higher or lower, and so faster or slower, at most
MISTUNED = 0.3  # of a semitone, at most
WEIGHTS = {"beat": 5.0, "downbeat": 1.0, "drums": 1.0, "root": 1.0, "quality": 0.5, "key": 0.5}


class ScoreListenerTraining(lightning.LightningModule):
    """Cross-entropies of beats, bars, chords, keys and drums; measured by what is heard of held-out crops.

    A batch is transposed by resampling, which moves its tempo as well; its crops are filtered, buried in
    noise, and some of them interrupted by noise alone, so that the listener knows when there is nothing.

    Args:
        part: the listener to train.
        optimizer: made from the parameters.
        warmup_steps: of the learning rate, which then falls to 0 by half a cosine over the run.
        interrupted: share of the crops with a stretch of noise.
        seed: of augmentation; a step's draw depends on the seed and the step alone.
    """

    role = "score_listener"  # in a bundle

    def __init__(
        self,
        part: ScoreListener,
        *,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        warmup_steps: int = 50,
        interrupted: float = 0.15,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.part = part
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.interrupted = interrupted
        self.seed = seed
        self._recordings: dict[str, Recording] = {}

    def training_step(self, batch: dict[str, Any], index: int) -> Tensor:
        seed_step(self, self.seed)
        waveform = batch["waveform"]
        semitones = int(torch.randint(-SEMITONES, SEMITONES + 1, ()))
        wanted = 2 ** ((semitones + MISTUNED * (2 * float(torch.rand(())) - 1)) / 12)
        # Whole frames, whose spectra are quickly made
        frames = round(waveform.shape[2] / wanted / self.part.hop_length)
        speed = waveform.shape[2] / (frames * self.part.hop_length)
        waveform = resampled(waveform, frames * self.part.hop_length)
        scores = [
            of_crop(score, 0.0, score.seconds, speed=speed, semitones=semitones)
            for score in self.scores(batch)
        ]
        targets = targets_of(scores, frames, device=waveform.device)
        waveform, noise = coloured(leveled(waveform))
        chosen = torch.rand(len(waveform), device=waveform.device) < self.interrupted
        waveform, targets = interrupted(waveform, targets, noise, chosen)
        gains = 10 ** (torch.randn(len(waveform), 1, 1, device=waveform.device) * 4 / 20)
        losses = losses_of(self.part(leveled(waveform) * gains), targets)
        loss = sum((WEIGHTS[name] * value for name, value in losses.items()), torch.zeros(()))
        self.log_dict({f"train/{name}": value for name, value in losses.items()})
        self.log("train/loss", loss, prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Any], index: int) -> None:
        for waveform, score in zip(batch["waveform"], self.scores(batch), strict=True):
            if not score.known:
                continue
            heard = self.part.hear(waveform[None, :, : round(score.seconds * self.part.sample_rate)])
            for name, value in agreement(heard, score).items():
                self.log(f"val/{name}", value, batch_size=1, on_epoch=True, sync_dist=True)

    def scores(self, batch: dict[str, Any]) -> list[Score]:
        """What the labels say of each crop, up to the end of its recording."""
        length = batch["waveform"].shape[2] / self.part.sample_rate
        scores = []
        for id, start in zip(batch["id"], batch["seconds"].tolist(), strict=True):
            recording = self._recordings_of_run()[id]
            whole = score_of_labels(recording.labels, recording.seconds)
            scores.append(of_crop(whole, start, min(length, recording.seconds - start)))
        return scores

    def configure_optimizers(self) -> Any:
        rate = partial(share_of_peak, steps=self.trainer.estimated_stepping_batches, warmup=self.warmup_steps)
        return scheduled(self.optimizer(self.part.parameters()), rate)

    def _recordings_of_run(self) -> dict[str, Recording]:
        if not self._recordings:
            data = self.trainer.datamodule  # type: ignore[attr-defined]
            assert isinstance(data, AudioCrops)
            self._recordings = {recording.id: recording for recording in data.recordings}
        return self._recordings


def leveled(waveform: Tensor) -> Tensor:
    """Waveforms [B, 1, L] at the level that the listener hears at; silence as it is."""
    level = waveform.square().mean(dim=(1, 2), keepdim=True).sqrt()
    return waveform * (LEVEL / level.clamp(min=1e-5))


def losses_of(said: Activations, targets: Targets) -> dict[str, Tensor]:
    """Cross-entropy of each kind, in nats for each frame of which the target is known."""
    binary = functional.binary_cross_entropy_with_logits
    drums_known = (targets.drums != UNKNOWN).float()
    at_beats = targets.beat * targets.beat_known  # only there is asked whether it is the bar's first
    root = targets.root.clamp(min=0, max=11)[:, None, None]  # [B, 1, 1, T]
    root = root.expand(-1, said.quality.shape[1], -1, -1)
    on_root = said.quality.gather(2, root)[:, :, 0]  # [B, qualities, T]
    return {
        "beat": _mean(binary(said.beat, targets.beat, reduction="none"), targets.beat_known),
        "downbeat": _mean(binary(said.downbeat, targets.downbeat, reduction="none"), at_beats),
        "drums": _mean(binary(said.drums, targets.drums.clamp(min=0), reduction="none"), drums_known),
        "root": _entropy(said.root, targets.root),
        "quality": _entropy(on_root, targets.quality),
        "key": _entropy(said.key, targets.key),
    }


def _mean(losses: Tensor, weights: Tensor) -> Tensor:
    return (losses * weights).sum() / weights.sum().clamp(min=1e-3)


def _entropy(logits: Tensor, classes: Tensor) -> Tensor:
    losses = functional.cross_entropy(logits, classes, ignore_index=UNKNOWN, reduction="none")
    return losses.sum() / (classes != UNKNOWN).sum().clamp(min=1)
