"""Is a continuation copied from any recording at all? The whole training store is searched for each.

How near unrelated music comes to some recording or other, by chance and by style, is measured too: on
held-out recordings, or, where there are none, on training recordings against the others. A continuation
counts as found when it is nearer than all but one in a hundred of those. Low entropy counts on neither side:
a held note is near to everyone's.

What a model makes may be more ordinary than real music, and so nearer to some recording, without memory. So
continuations of held-out music, which has no original in the store, are searched for as well: the control.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from musiclm.audit.examples import count_copies
from musiclm.audit.findings import LOW_ENTROPY, Continued
from musiclm.audit.schema import FoundRates, NullCosts, Search
from musiclm.audit.search import WINDOW, WindowSearch
from musiclm.audit.sinkhorn import entropies
from musiclm.metrics.statistics import estimate
from musiclm.progress import Progress

QUANTILE = 0.01  # of the null, below which a continuation counts as found
NULL_WINDOWS = 500
AT_ONCE = 2_000  # sequences


@dataclass(frozen=True)
class Null:
    """How near unrelated windows come to their nearest training window [N], and where they are from."""

    costs: np.ndarray
    source: str


def nearness(search: WindowSearch, null: Null, continued: Sequence[Continued]) -> Search:
    """The findings of the search: its null, its threshold, and how many continuations are nearer."""
    threshold = float(np.quantile(null.costs, QUANTILE))
    number = {id: index for index, id in enumerate(search.store.ids())}
    rows = np.unique(search.recordings)
    copies: dict[tuple[str, int], np.ndarray] = {}

    def copies_of_target(each: Continued) -> np.ndarray:
        """How often what really follows stands in training [N]."""
        case = each.subject.name, each.prompt_tokens
        if case not in copies:
            copies[case] = count_copies((search.store.semantic(row) for row in rows), each.target.numpy())
        return copies[case]

    found = []
    with Progress("search", sum(len(each.generated) for each in continued), unit="example") as counter:
        for each in continued:
            costs, recordings = [], []
            for part in each.generated.split(AT_ONCE):
                nearest = search.nearest(part)
                costs.append(nearest.costs)
                recordings.append(search.recordings[nearest.windows])
                counter.advance(len(part))
            examples = each.subject.examples
            near = (np.concatenate(costs) < threshold) & (entropies(each.generated).numpy() >= LOW_ENTROPY)
            own = np.array([number[id] for id in each.subject.recording_ids()])
            # What stands elsewhere too is found there, and was not taken from there.
            foreign = near & (np.concatenate(recordings) != own) & (copies_of_target(each) <= 1)
            found.append(
                FoundRates(
                    each.subject.name,
                    each.decoding,
                    each.prompt_tokens,
                    any_recording=estimate(near, examples.weights),
                    another_recording=estimate(foreign, examples.weights),
                )
            )
    quantiles = {str(q): float(np.quantile(null.costs, q)) for q in (QUANTILE, 0.1, 0.5)}
    return Search(len(search), NullCosts(null.source, len(null.costs), quantiles), threshold, found)


def null_costs(
    search: WindowSearch,
    *,
    windows: int = NULL_WINDOWS,
    enough: int = 1,
    least_entropy: float = 0.0,
    seed: int = 0,
) -> Null:
    """How near unrelated windows come: held-out ones, or training windows to other training recordings.

    Args:
        search: over the training recordings.
        windows: how many, at most, of either.
        enough: where there are fewer held-out ones, those of training are taken as well.
        least_entropy: in bits; windows below it are left out.
        seed: of the draw of windows.

    Raises:
        ValueError: there are no unrelated windows.
    """
    store = search.store
    held_out = [row for row, split in enumerate(store.splits()) if split != "train"]
    found: dict[str, np.ndarray] = {}
    for rows, source in (
        (held_out, "held-out recordings"),
        (sorted(set(search.recordings.tolist())), "training recordings, each against the others"),
    ):
        places = [
            (row, start) for row in rows for start in range(0, len(store.semantic(row)) - WINDOW + 1, WINDOW)
        ]
        order = np.random.Generator(np.random.PCG64(seed)).permutation(len(places))[:windows]
        chosen = np.array([places[index] for index in order], dtype=np.int64).reshape(-1, 2)
        cut = [store.semantic(row)[start : start + WINDOW] for row, start in chosen]
        tokens = np.array(cut, dtype=np.int64).reshape(-1, WINDOW)
        own = chosen[:, 0]
        copied = count_copies((store.semantic(row) for row in np.unique(search.recordings)), tokens)
        if rows is not held_out:  # each stands at least once in its own recording
            copied -= [
                int(count_copies([store.semantic(row)], cut[None])[0])
                for row, cut in zip(own, tokens, strict=True)
            ]
        kept = copied == 0  # what stands in training is not unrelated to it
        if len(tokens):
            kept &= entropies(torch.from_numpy(tokens)).numpy() >= least_entropy
        if kept.any():
            not_of = None if rows is held_out else own[kept]
            costs = search.nearest(torch.from_numpy(tokens[kept]), not_of=not_of).costs
            if np.isfinite(costs).any():
                found[source] = costs[np.isfinite(costs)]
        if sum(map(len, found.values())) >= enough:
            break
    if found:
        return Null(np.concatenate(list(found.values())), "; ".join(found))
    seconds = WINDOW / store.description["semantic"].rate
    raise ValueError(
        f"expected unrelated recordings of at least {seconds:g} s in {store.folder} to compare with, found "
        "none: tokenize more music"
    )
