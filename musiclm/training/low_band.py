"""Training of the codec's low band: what was coded of the lowest bins, asked for directly.

Encoder, codebooks and the rest of the decoder stay as they are, so that every token that the codec has made
keeps its meaning. The loss is the distance of log magnitudes, heaviest where the frame is loud.
"""

from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.cli import OptimizerCallable
from torch import Tensor

from musiclm.bundle import Bundle, load_component, only_role
from musiclm.tokenizers.convnext import MIN_MAGNITUDE, ConvNeXtDecoder
from musiclm.tokenizers.low_band import LowBand
from musiclm.tokenizers.soundstream import SoundStream
from musiclm.training.schedules import scheduled, share_of_peak
from musiclm.training.seeds import seed_step

FINAL_LEARNING_RATE = 0.02  # of the peak, at the last step
QUIET = 0.15  # weight of a bin that is silent; one as loud as the frame's loudest has 1 more


class LowBandTraining(LightningModule):
    """Trains the low band of a trained codec on batches with `waveform` [B, 1, L].

    Args:
        part: the codec, its decoder with a `low_band`.
        codec: folder of the trained codec that all else is taken from (`runs/soundstream/part`).
        optimizer: made from the low band's parameters.
        warmup_steps: of the learning rate, which then falls along a cosine until trainer.max_steps.
        dropout: share of examples whose number of levels is drawn from U[1, Q]: few levels are decoded too.
        seed: of the levels dropped.

    Raises:
        FileNotFoundError: there is no codec at `codec`.
        ValueError: the part is another codec, or has no low band.
    """

    role = "codec"  # in a bundle

    def __init__(
        self,
        part: SoundStream,
        *,
        codec: Path,
        optimizer: OptimizerCallable = torch.optim.AdamW,
        warmup_steps: int = 100,
        dropout: float = 0.25,
        seed: int = 0,
    ) -> None:
        super().__init__()
        decoder = part.decoder
        if not isinstance(decoder, ConvNeXtDecoder) or decoder.low_band is None:
            raise ValueError("expected a codec whose decoder has a low_band, got one without")
        bundle = Bundle(codec)
        trained = bundle.component(only_role(bundle))
        self.formerly = (trained.fingerprint, *trained.formerly)  # the codes are still these codecs'
        take_over(part, load_component(codec))
        self.part = part.requires_grad_(False)
        self.spectrum = decoder.spectrum
        self.low_band: LowBand = decoder.low_band.requires_grad_(True)
        self.optimizer = optimizer
        self.warmup_steps = warmup_steps
        self.dropout = dropout
        self.seed = seed

    def on_train_start(self) -> None:
        """The codec's statistics stay as they are while its low band learns."""
        self.part.eval()
        self.low_band.train()

    def configure_optimizers(self) -> Any:
        steps = self.trainer.estimated_stepping_batches
        return scheduled(
            self.optimizer(self.low_band.parameters()),
            lambda step: share_of_peak(step, steps, warmup=self.warmup_steps, final=FINAL_LEARNING_RATE),
        )

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        seed_step(self, self.seed)
        target = batch["waveform"]  # [B, 1, L]
        every = self.part.num_quantizers
        drawn = torch.randint(1, every + 1, (len(target),))
        dropped = torch.rand(len(target)) < self.dropout
        loss = self.loss(target, torch.where(dropped, drawn, every).tolist())
        self.log("train/low_band", loss.detach(), prog_bar=True)
        return loss

    def validation_step(self, batch: dict[str, Any], batch_index: int) -> None:
        target = batch["waveform"]
        every = [self.part.num_quantizers] * len(target)
        self.log("val/low_band", self.loss(target, every), batch_size=len(target), prog_bar=True)

    def loss(self, target: Tensor, levels: list[int]) -> Tensor:
        """Mean weighted distance of log magnitudes, of targets [B, 1, L] through so many levels each."""
        codes = self.part.encode(target)  # [B, Q, T]
        latents = torch.cat(
            [
                self.part.quantizer.decode(row[:, :count])
                for row, count in zip(codes.split(1), levels, strict=True)
            ]
        )  # [B, D, T]
        padded = torch.nn.functional.pad(target, (0, -target.shape[-1] % self.part.hop_length))
        magnitude = self.spectrum(padded).abs()[..., : self.low_band.bins]  # [B, T, bins]
        return distance(self.low_band(latents), magnitude)


def distance(level: Tensor, magnitude: Tensor) -> Tensor:
    """Mean distance of log magnitudes [B, T, bins] from those of `magnitude`, louder bins weighing more."""
    loudest = magnitude.amax(dim=-1, keepdim=True).clamp_min(MIN_MAGNITUDE)
    weight = QUIET + (magnitude / loudest).sqrt()
    return (weight * (level - magnitude.clamp_min(MIN_MAGNITUDE).log()).abs()).mean()


def take_over(part: SoundStream, codec: object) -> None:
    """Fill a codec with the weights of a trained one, all but its low band.

    Raises:
        ValueError: they are not of the same sizes.
    """
    if not isinstance(codec, SoundStream):
        raise ValueError(f"expected a SoundStream to add a low band to, got {type(codec).__name__}")
    own = {name for name in part.state_dict() if name.startswith("decoder.low_band.")}
    weights = {name: value for name, value in codec.state_dict().items() if name not in own}
    try:
        missing, unexpected = part.load_state_dict(weights, strict=False)
    except RuntimeError as error:  # sizes that differ
        raise ValueError("expected the sizes of the codec in the configuration, got others") from error
    if set(missing) != own or unexpected:
        raise ValueError("expected the sizes of the codec in the configuration, got others")
