"""Conditions that are left out of some rows in training, so that any of them may be absent afterwards."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from musiclm.stages.layout import ABSENT, Segment


def shares_dropped(
    segments: Sequence[Segment],
    whole: float,
    *,
    timed: float,
    named: Mapping[str, float] | None,
    joint: float,
) -> dict[str, float]:
    """Fraction of the rows that lose each optional condition.

    Args:
        segments: the conditions.
        whole: of those of the whole clip.
        timed: of those with a clock.
        named: of single ones, in the place of either; of one that is not there it says nothing.
        joint: fraction of the rows that lose all of them, whatever else is dropped.

    Raises:
        ValueError: one is no fraction.
    """
    shares = [whole, timed, joint, *(named or {}).values()]
    if not all(0 <= share <= 1 for share in shares):
        raise ValueError(f"expected shares of dropped conditions in [0, 1], got {shares}")
    return {
        segment.name: (named or {}).get(segment.name, timed if segment.frame_rate else whole)
        for segment in segments
        if segment.optional
    }


def drop_conditions(
    codes: Mapping[str, Tensor], shares: Mapping[str, float], *, joint: float = 0.0
) -> dict[str, Tensor]:
    """Make each named condition [B, levels, T] absent in a random share of the rows, each on its own.

    In another share of the rows, `joint`, all of them are.
    """
    kept = dict(codes)
    named = [name for name in shares if name in codes]
    all_at_once = torch.zeros((), dtype=torch.bool)
    if joint and named:
        first = codes[named[0]]
        all_at_once = torch.rand(len(first), device=first.device) < joint
    for name, share in shares.items():
        if name in codes:
            dropped = torch.rand(len(codes[name]), device=codes[name].device) < share
            dropped = dropped | all_at_once.to(dropped.device)
            kept[name] = codes[name].masked_fill(dropped[:, None, None], ABSENT)
    return kept
