"""Training of w2v-BERT [2108.06209]: both losses at once, on masked log-mel frames.

The frames before masking are quantized (Gumbel codebook). The contrastive module must tell the code of each
masked frame from those of other masked frames; the masked-prediction module on top of it must name it.
Loss = contrastive + 0.1 · diversity + masked prediction, each the mean over masked frames.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor
from torch.nn import functional as F

from musiclm.tokenizers.w2v_bert import W2VBert
from musiclm.training.schedules import scheduled, share_of_peak

MIN_DEVIATION = 0.02  # of a mel band, in units of LogMel's range: a band that is always silent stays quiet


@dataclass(frozen=True)
class Masking:
    """Which frames are hidden: spans at random places, which may overlap (wav2vec 2.0 [2006.11477])."""

    span: int = 10  # frames of 40 ms
    probability: float = 0.65  # spans * span / frames: overlaps hide fewer
    min_spans: int = 2


@dataclass(frozen=True)
class Losses:
    """All terms are means over masked frames; perplexities are of the Gumbel codebook."""

    total: Tensor
    contrastive: Tensor
    diversity: Tensor
    prediction: Tensor
    contrastive_accuracy: Tensor  # share of masked frames told from all their distractors
    prediction_accuracy: Tensor  # share of masked frames whose code is named
    code_perplexity: Tensor  # entries in use, at most num_codebook_entries: collapsed when near 1
    prob_perplexity: Tensor
    temperature: float


class W2VBertTraining(LightningModule):
    """Contrastive and masked-prediction training of a `W2VBert`.

    Args:
        part: the encoder to train.
        optimizer: over all of the part's parameters.
        masking: which frames are hidden.
        temperature: of the Gumbel softmax: first, last, factor per step.
        num_distractors: masked frames of the same crop that the true one must be told from.
        logit_temperature: of the contrastive cosines.
        diversity_weight: w2v-BERT, sec. 3.4: 0.1.
        prediction_weight: w2v-BERT, sec. 3.4: 1.
        warmup_share: share of the training in which the learning rate rises; then it falls as a cosine.
        statistics_steps: the part's statistics of the mel bands are those of the first so many batches.
        seed: of masks, Gumbel noise and distractors. What a step draws depends on the seed and the step
            alone, so that a resumed training goes on as an unbroken one.
    """

    band_moments: Tensor

    role = "semantic_encoder"  # in a bundle

    def __init__(
        self,
        part: W2VBert,
        *,
        optimizer: OptimizerCallable,
        masking: Masking = Masking(),
        temperature: tuple[float, float, float] = (2.0, 0.5, 0.999),
        num_distractors: int = 100,
        logit_temperature: float = 0.1,
        diversity_weight: float = 0.1,
        prediction_weight: float = 1.0,
        warmup_share: float = 0.1,
        statistics_steps: int = 50,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.part = part
        self.optimizer = optimizer
        self.diversity_weight = diversity_weight
        self.prediction_weight = prediction_weight
        self.warmup_share = warmup_share
        self.statistics_steps = statistics_steps
        self.seed = seed
        # Running means over batches, of each band's values and of their squares.
        self.register_buffer("band_moments", torch.zeros(2, len(part.band_mean)))

        from musiclm.tokenizers.fairseq2_models import StandardWav2Vec2Masker

        w2v2 = part.model.w2v2_model
        assert isinstance(w2v2.masker, StandardWav2Vec2Masker)
        w2v2.num_distractors = num_distractors
        w2v2.logit_temp = logit_temperature
        w2v2.quantizer.codebook_sampling_temperature = temperature
        w2v2.masker.temporal_span_len = masking.span
        w2v2.masker.max_temporal_mask_prob = masking.probability
        w2v2.masker.min_num_temporal_mask_spans = masking.min_spans

    def measure_bands(self, waveform: Tensor, count: int) -> None:
        """Take a batch [B, 1, L] into the part's statistics of the mel bands, after `count` earlier ones."""
        with torch.no_grad():
            values = self.part.log_mel(waveform).flatten(0, 1)  # [B * 4*T, num_mels]
            moments = torch.stack([values.mean(dim=0), values.square().mean(dim=0)])
            if self._trainer is not None:
                moments = self.trainer.strategy.reduce(moments, reduce_op="mean")
            self.band_moments += (moments - self.band_moments) / (count + 1)
            mean, square = self.band_moments
            self.part.band_mean.copy_(mean)
            self.part.band_std.copy_((square - mean.square()).clamp(min=MIN_DEVIATION**2).sqrt())

    def losses(self, waveform: Tensor) -> Losses:
        """Both losses on a batch [B, 1, L]; L is at most the part's window and longer than a masked span."""
        from musiclm.tokenizers.fairseq2_models import BatchLayout

        model = self.part.model
        w2v2 = model.w2v2_model
        frames = self.part.frames(waveform)  # [B, 4*T, num_mels]
        features = w2v2.run_frontend(
            frames, BatchLayout.of(frames)
        )  # masked [B, T, D], targets [B, M, 4*mels]
        contrastive_layer = self.part.num_layers - model.num_bert_encoder_layers - 1
        outputs: list[Tensor] = []

        def keep(
            layer_idx: int, layer_output: Tensor, layer_output_layout: BatchLayout, num_layers: int
        ) -> bool:
            if layer_idx == contrastive_layer:
                outputs.append(layer_output)
            return True

        with w2v2.encoder.register_layer_hook(keep):
            encoded = w2v2.encoder(features.seqs, features.seqs_layout)  # [B, T, D]
        (features.seqs,) = outputs
        contrast = w2v2.quantize_and_contrast(features)  # logits [B, M, 1 + distractors], the true one first

        # fairseq2's own forward raises here; one target per masked frame and codebook.
        masked = encoded[features.temporal_mask]  # [B*M, D]
        num_entries = w2v2.quantizer.num_codebook_entries
        logits = model.final_bert_proj(masked).view(-1, num_entries).float()  # [B*M*G, V]
        codes = contrast.quantizer_output.cb.view(logits.shape).argmax(dim=-1)  # [B*M*G]
        prediction = F.cross_entropy(logits, codes)

        sums = w2v2.compute_loss(
            contrast, diversity_weight=self.diversity_weight, features_penalty_weight=0.0
        )
        count = contrast.logits.shape[0] * contrast.logits.shape[1]  # B * M
        return Losses(
            total=sums.aggregate / count + self.prediction_weight * prediction,
            contrastive=sums.contrastive / count,
            diversity=sums.diversity / count,
            prediction=prediction,
            contrastive_accuracy=(contrast.logits.argmax(dim=-1) == 0).float().mean(),
            prediction_accuracy=(logits.argmax(dim=-1) == codes).float().mean(),
            code_perplexity=contrast.quantizer_output.code_perplexity,
            prob_perplexity=contrast.quantizer_output.prob_perplexity,
            temperature=contrast.quantizer_output.temperature,
        )

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        if self.global_step < self.statistics_steps:
            self.measure_bands(batch["waveform"], self.global_step)
        with self._draws(self.global_step):
            losses = self.losses(batch["waveform"])
        self._log("train", losses, batch)
        return losses.total

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        with self._draws(-1 - batch_idx):
            self._log("val", self.losses(batch["waveform"]), batch)

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer(self.part.parameters())
        steps = self.trainer.estimated_stepping_batches
        warmup = max(1, round(self.warmup_share * steps))
        return scheduled(optimizer, partial(share_of_peak, steps=steps, warmup=warmup))

    def _log(self, split: str, losses: Losses, batch: dict[str, Any]) -> None:
        figures = {f"{split}/{name}": value for name, value in vars(losses).items()}
        self.log_dict(figures, batch_size=len(batch["waveform"]), sync_dist=split == "val")

    def _draws(self, step: int) -> "_Draws":
        return _Draws(self.seed * 1_000_003 + step * 4099 + self.global_rank, self.device)


class _Draws:
    """Random numbers of their own, that leave the global generators as they were."""

    def __init__(self, seed: int, device: torch.device) -> None:
        self.seed = seed % 2**63
        self.fork = torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])

    def __enter__(self) -> None:
        self.fork.__enter__()
        torch.manual_seed(self.seed)

    def __exit__(self, *error: Any) -> None:
        self.fork.__exit__(*error)
