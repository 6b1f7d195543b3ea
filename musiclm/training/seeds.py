"""Random numbers of a training step."""

import lightning
import torch


def seed_step(training: lightning.LightningModule, seed: int) -> None:
    """Make what this step draws depend on seed, step and rank alone: a resumed run is the same run."""
    torch.manual_seed((seed * 1_000_003 + training.global_step) * 1_009 + training.global_rank)
