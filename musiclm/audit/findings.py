"""From continuations to findings: the parts of the report (`schema.py`)."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from musiclm.audit.continuation import Subject
from musiclm.audit.examples import STRATA, Examples
from musiclm.audit.planted import REPLACED, plant
from musiclm.audit.schema import (
    CanaryRates,
    CostCounts,
    Duplicates,
    EntropyPoint,
    MatchRates,
    Pair,
    Power,
    Stratum,
    StratumRates,
)
from musiclm.audit.sinkhorn import (
    centroid_distances,
    default_regularization,
    entropies,
    histograms,
    transport_costs,
)
from musiclm.metrics.statistics import estimate

AGREEMENT = 0.8  # share of equal tokens that counts as nearly exact
LOW_ENTROPY = 2.0  # bits; below it a stretch is a held note or silence, which anyone would continue alike
CLOSEST = 10  # pairs that the report shows
POINTS = 2_000  # of the scatter
BINS = 60
PLANTED_PAIRS = 500


@dataclass(frozen=True)
class Metric:
    """What it costs to move mass between semantic tokens."""

    distances: Tensor  # [V, V] between centroids
    regularization: float

    @classmethod
    def of(cls, centroids: Tensor) -> "Metric":
        """Of centroids [V, D], regularized as their distances ask for."""
        distances = centroid_distances(centroids)
        return cls(distances, default_regularization(distances))

    def costs(self, first: Tensor, second: Tensor) -> np.ndarray:
        """Transport costs [P] between token sequences [P, S] and their partners."""
        return transport_costs(
            histograms(first), histograms(second), self.distances, regularization=self.regularization
        ).numpy()


@dataclass(frozen=True)
class Continued:
    """Continuations of one set of stretches, at one prompt length, by one way of decoding."""

    subject: Subject
    decoding: str  # greedy, sampled or planned
    prompt_tokens: int
    generated: Tensor  # [N, 125]
    costs: np.ndarray  # [N], of transport to the targets

    @property
    def target(self) -> Tensor:
        return self.subject.target(self.prompt_tokens)  # [N, 125]

    @cached_property
    def agreement(self) -> np.ndarray:
        """Share of equal tokens [N]."""
        return (self.generated == self.target).float().mean(dim=1).numpy()

    @cached_property
    def entropy(self) -> np.ndarray:
        """Of the targets, in bits [N]."""
        return entropies(self.target).numpy()

    @property
    def exact(self) -> np.ndarray:
        return self.agreement == 1


def duplicates(subject: Subject, population: Examples, identical: list[list[str]]) -> Duplicates:
    """How often stretches occur in the training set, and how many are asked for."""
    strata, asked = population.strata(), subject.examples.strata()
    return Duplicates(
        windows=int(population.weights.sum()),
        strata=[
            Stratum(
                name,
                windows=int(population.weights[strata == index].sum()),
                examples=int((asked == index).sum()),
            )
            for index, name in enumerate(stratum_names())
        ],
        identical_recordings=identical,
    )


def stratum_names() -> list[str]:
    """ "1", "2-3", "4-15", "16+"."""
    ends = [*STRATA[1:], 0]
    return [
        f"{low}+" if not end else f"{low}" if end == low + 1 else f"{low}-{end - 1}"
        for low, end in zip(STRATA, ends, strict=True)
    ]


def rates(continued: Sequence[Continued], tau: float) -> list[MatchRates]:
    """Match rates of every set, decoding and prompt length."""
    rows = []
    for each in continued:
        weights, near = each.subject.examples.weights, each.costs < tau
        rows.append(
            MatchRates(
                each.subject.name,
                each.decoding,
                each.prompt_tokens,
                exact=estimate(each.exact, weights),
                agreement=estimate(each.agreement >= AGREEMENT, weights),
                approximate=estimate(near, weights),
                approximate_high_entropy=estimate(near & (each.entropy >= LOW_ENTROPY), weights),
            )
        )
    return rows


def by_duplicates(greedy: Sequence[Continued], tau: float) -> list[StratumRates]:
    """Match rates of training examples by how often they occur."""
    rows = []
    for each in greedy:
        strata = each.subject.examples.strata()
        for index, name in enumerate(stratum_names()):
            inside = strata == index
            if inside.any():
                exact, near = estimate(each.exact[inside]), estimate(each.costs[inside] < tau)
                rows.append(StratumRates(name, each.prompt_tokens, exact, near))
    return rows


def canaries(continued: Sequence[Continued], times: np.ndarray, tau: float) -> list[CanaryRates] | None:
    """What was learned of planted recordings, by how often each was planted [C]; None if there are none."""
    if not continued:
        return None
    (each,) = continued  # greedy, from the longest prompt
    planted = times[each.subject.examples.recordings]
    return [
        CanaryRates(
            repeats=int(repeats),
            recordings=int((times == repeats).sum()),
            exact=estimate(each.exact[planted == repeats]),
            approximate=estimate(each.costs[planted == repeats] < tau),
        )
        for repeats in np.unique(times)
    ]


def cost_counts(
    negatives: np.ndarray, training: Sequence[Continued], held_out: Sequence[Continued]
) -> CostCounts:
    """How costs are distributed, in bins that all share."""
    heard, unheard = (
        np.concatenate([np.zeros(0), *(each.costs for each in continued)])
        for continued in (training, held_out)
    )
    top = max(float(costs.max(initial=0)) for costs in (negatives, heard, unheard))
    edges = np.linspace(0, top + 1e-6, BINS + 1)
    counts = [np.histogram(costs, edges)[0].tolist() for costs in (negatives, unheard, heard)]
    return CostCounts(edges.tolist(), *counts)


def entropy_points(greedy: Sequence[Continued], tau: float, *, seed: int) -> list[EntropyPoint]:
    """Entropy and cost of examples, at most `POINTS` of them, every match among them."""
    points = [
        EntropyPoint(float(entropy), float(cost), each.prompt_tokens, matched=cost < tau)
        for each in greedy
        for entropy, cost in zip(each.entropy, each.costs.tolist(), strict=True)
    ]
    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(points))
    chosen = sorted(order, key=lambda index: not points[index].matched)[:POINTS]
    return [points[index] for index in chosen]


def power(originals: Tensor, metric: Metric, tau: float, *, seed: int) -> Power:
    """Which share of copies with replaced tokens the threshold finds; originals [N, 125]."""
    originals = originals[:PLANTED_PAIRS]
    neighbours = metric.distances.argsort(dim=1)
    found: dict[bool, list[float]] = {False: [], True: []}
    medians: dict[bool, list[float]] = {False: [], True: []}
    for far in (False, True):
        for share in REPLACED:
            generator = torch.Generator().manual_seed(seed)
            copies = plant(originals, neighbours, replaced=share, far=far, generator=generator)
            costs = metric.costs(copies, originals)
            found[far].append(float((costs < tau).mean()))
            medians[far].append(float(np.median(costs)))
    return Power(
        list(REPLACED), near=found[False], far=found[True], near_cost=medians[False], far_cost=medians[True]
    )


def closest(continued: Sequence[Continued]) -> list[tuple[Continued, int]]:
    """The training examples of lowest cost, each recording once, that are no held notes if there are such."""
    candidates = [
        (float(each.costs[index]), each, index)
        for each in continued
        if each.subject.name == "training"
        for index in np.argsort(each.costs)[: 50 * CLOSEST]
    ]
    candidates.sort(key=lambda entry: (entry[1].entropy[entry[2]] < LOW_ENTROPY, entry[0]))
    chosen: dict[str, tuple[Continued, int]] = {}
    originals: set[bytes] = set()
    for _, each, index in candidates:
        id, original = each.subject.recording_ids()[index], each.target[index].numpy().tobytes()
        if id not in chosen and original not in originals:  # the same music may have several ids
            chosen[id] = (each, index)
            originals.add(original)
        if len(chosen) == CLOSEST:
            break
    return sorted(chosen.values(), key=lambda entry: entry[0].costs[entry[1]])


def describe_pair(each: Continued, index: int, frame_rate: float) -> Pair:
    """One of the closest pairs, as the report shows it (what is heard of it comes later)."""
    examples = each.subject.examples
    return Pair(
        id=str(each.subject.recording_ids()[index]),
        start=float((examples.starts[index] + each.prompt_tokens) / frame_rate),
        prompt_tokens=each.prompt_tokens,
        decoding=each.decoding,
        cost=float(each.costs[index]),
        agreement=float(each.agreement[index]),
        entropy=float(each.entropy[index]),
        generated=each.generated[index].tolist(),
        target=each.target[index].tolist(),
    )
