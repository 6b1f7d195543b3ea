"""Maker of a token store whose recordings have plans."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from musiclm.data.store import (
    StoreDescription,
    TokenRow,
    shard_path,
    write_codebooks,
    write_description,
    write_shard,
)
from musiclm.score.codes import STREAMS, codes_of
from musiclm.score.plan import Plan
from musiclm.score.score import Score
from tests.tiny import streams_of


def make_plan_store(folder: Path, plans: Sequence[tuple[Plan | None, str]], *, held_out: int = 0) -> None:
    """A store of recordings as long as their plans, each with a caption; the last `held_out` are."""
    random = np.random.default_rng(0)
    rows = []
    for index, (plan, caption) in enumerate(plans):
        score = Score(4.0) if plan is None else plan.score(plan.seconds)
        frames = codes_of(score)["beat"].shape[1]
        streams = {
            "semantic": np.zeros((1, frames), np.uint16),
            "acoustic": np.zeros((2, 2 * frames), np.uint16),
            "mulan": random.normal(size=(3, 4)).astype(np.float16),
        } | {name: each.numpy().astype(np.uint16) for name, each in codes_of(score).items()}
        split = "valid" if index >= len(plans) - held_out else "train"
        rows.append(
            TokenRow(f"{index:03d}", f"{index}.wav", score.seconds, "CC0-1.0", split, [caption], streams)
        )
    streams_made = (*streams_of(semantic=8, acoustic=(2, 8), mulan=4), *STREAMS)
    made_by = {"codec": "0123", "semantic_quantizer": "0123", "joint_embedding": "4567"}
    write_description(folder, StoreDescription(streams_made, made_by))
    write_shard(shard_path(folder, 0), rows)
    write_codebooks(folder, {})
