"""Is a continuation copied from any recording at all? The whole training store is searched for each.

How near unrelated music comes to some recording or other, by chance and by style, is measured too: on
held-out recordings, or, where there are none, on training recordings against the others. A continuation
counts as found when it is nearer than all but one in a hundred of those. Low entropy counts on neither side:
a held note is near to everyone's.
"""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from musiclm.audit.findings import LOW_ENTROPY, Continued
from musiclm.audit.search import WINDOW, WindowSearch
from musiclm.audit.sinkhorn import entropies
from musiclm.audit.statistics import estimate
from musiclm.data.store import TokenStore
from musiclm.progress import Progress

QUANTILE = 0.01  # of the null, below which a continuation counts as found
NULL_WINDOWS = 500
AT_ONCE = 2_000  # sequences


def nearness(store: TokenStore, continued: Sequence[Continued]) -> dict[str, Any]:
    """The findings of the search: its null, its threshold, and how many continuations are nearer."""
    search = WindowSearch.build(store)
    null, source = null_costs(search, least_entropy=LOW_ENTROPY)
    threshold = float(np.quantile(null, QUANTILE))
    of_training = [each for each in continued if each.subject.name == "training"]
    number = {id: index for index, id in enumerate(store.ids())}
    found, other = [], []
    with Progress("search", sum(len(each.generated) for each in of_training), unit="example") as counter:
        for each in of_training:
            costs, recordings = [], []
            for part in each.generated.split(AT_ONCE):
                nearest = search.nearest(part)
                costs.append(nearest.costs)
                recordings.append(search.recordings[nearest.windows])
                counter.advance(len(part))
            near = (np.concatenate(costs) < threshold) & (entropies(each.generated).numpy() >= LOW_ENTROPY)
            own = np.array([number[id] for id in each.subject.recording_ids()])
            other.append(near & (np.concatenate(recordings) != own))
            rate = estimate(near, each.subject.examples.weights)
            entry = {"decoding": each.decoding, "prompt_tokens": each.prompt_tokens, "estimate": asdict(rate)}
            found.append(entry)
    weights = np.concatenate([each.subject.examples.weights for each in of_training])
    return {
        "windows": len(search),
        "null": {
            "from": source,
            "windows": len(null),
            "quantiles": {str(q): float(np.quantile(null, q)) for q in (QUANTILE, 0.1, 0.5)},
        },
        "threshold": threshold,
        "found": found,
        "other_recording": asdict(estimate(np.concatenate(other), weights)),
    }


def null_costs(search: WindowSearch, *, least_entropy: float = 0.0, seed: int = 0) -> tuple[np.ndarray, str]:
    """How near unrelated windows come to their nearest training window [N], and where they are from.

    Args:
        search: over the training recordings.
        least_entropy: in bits; windows below it are left out.
        seed: of the draw of windows.

    Raises:
        ValueError: there are no such windows.
    """
    splits = search.store.splits()
    rows = [row for row, split in enumerate(splits) if split != "train"]
    held_out = bool(rows)
    if not held_out:
        rows = sorted(set(search.recordings.tolist()))
    places = [
        (row, start)
        for row in rows
        for start in range(0, len(search.store.semantic(row)) - WINDOW + 1, WINDOW)
    ]
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(places))[:NULL_WINDOWS]
    chosen = [places[index] for index in order]
    cut = [search.store.semantic(row)[start : start + WINDOW].astype(np.int64) for row, start in chosen]
    tokens = torch.from_numpy(np.stack(cut).reshape(-1, WINDOW)) if cut else torch.empty(0, WINDOW)
    kept = entropies(tokens) >= least_entropy if len(tokens) else torch.zeros(0, dtype=torch.bool)
    if not kept.any():
        raise ValueError(
            f"expected unrelated windows of {WINDOW} tokens to compare with in {search.store.folder}, found "
            "none: tokenize more music"
        )
    own = None if held_out else np.array([row for row, _ in chosen])[kept.numpy()]
    costs = search.nearest(tokens[kept], not_of=own).costs
    if held_out:
        return costs, "held-out recordings"
    return costs[np.isfinite(costs)], "training recordings, each against the others"
