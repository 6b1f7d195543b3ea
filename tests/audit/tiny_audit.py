"""Tiny music for the audit, and a tiny stage that has learned it by heart."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from musiclm.bundle import save_component
from musiclm.data.store import read_description
from musiclm.data.token_crops import TokenCrops
from musiclm.stages.semantic import Semantic
from musiclm.stages.streams import Stream
from musiclm.stages.transformer import TransformerConfig
from musiclm.training.stages import StageTraining
from tests.tiny import make_token_store, quiet_trainer

IDS = 64
BAR = 25  # tokens
SECONDS = 7.0  # 175 tokens: a prompt of 50 and its continuation, so that there is one stretch
WORDS: dict[str, Any] = {"pattern": "delay", "broadcast": True}
STREAMS = (Stream("mulan", 3, 8, 0.0), Stream("semantic", 1, IDS, 25.0))


def songs(count: int, *, bars: int = 24, seed: int = 0, seconds: float = SECONDS) -> list[np.ndarray]:
    """Semantic tokens of recordings that are made of the same `bars`, each in an order of its own.

    Bars are the style, which held-out songs share; their order is what only memory can know.
    """
    random = np.random.default_rng(seed)
    kinds = random.integers(0, IDS, (bars, BAR))
    return [kinds[random.integers(0, bars, round(25 * seconds) // BAR)].ravel() for _ in range(count)]


def make_store(folder: Path, semantic: Sequence[np.ndarray], *, held_out: int) -> Path:
    make_token_store(
        folder, [len(song) / 25 for song in semantic], held_out=held_out, semantic=semantic, semantic_size=IDS
    )
    return folder


def learn(store: Path, folder: Path, *, steps: int, width: int = 64, batch_size: int = 25) -> Path:
    """A bundle with a semantic stage that was trained on the store."""
    torch.manual_seed(0)
    config = TransformerConfig(width=width, layers=2, heads=2, feed_forward=2 * width, dropout=0.0)
    stage = Semantic(config, streams=STREAMS, **WORDS)
    training = StageTraining(
        stage,
        optimizer=lambda p: torch.optim.AdamW(p, lr=1e-2, betas=(0.9, 0.95)),
        warmup_steps=20,
        final_rate=0.1,
        condition_dropout=0.0,
        ema_decay=0.9,
    )
    crops = TokenCrops(store, SECONDS, batch_size=batch_size, crops_per_epoch=batch_size * steps)
    trainer = quiet_trainer(
        folder,
        1,
        enable_checkpointing=False,
        num_sanity_val_steps=0,
        limit_val_batches=0,
        gradient_clip_val=1.0,
    )
    trainer.fit(training, datamodule=crops)
    words = {"transformer": vars(config), "streams": [stream.words() for stream in STREAMS], **WORDS}
    save_component(
        folder / "part",
        "semantic_stage",
        stage,
        class_path="musiclm.stages.semantic.Semantic",
        init_args=words,
        storage="float32",
        trained_on=read_description(store).fingerprints,
    )
    return folder / "part"
