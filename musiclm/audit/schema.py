"""What an audit found, as one typed report: `report.json` is this, key by key.

Rates are fractions 0 … 1. An `Estimate` may be weighted, so that its rate need not equal count / examples.
Sets are "training" and "held-out", decodings "greedy", "sampled" and "planned", which is greedy under the
music's own beats, keys, chords and drums. What was not measured is None.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from musiclm.audit.calibration import Verification
from musiclm.metrics.statistics import Estimate

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Made:
    """When and on what the audit was made."""

    date: str
    seconds: float  # that it took
    machine: str
    musiclm: str  # version


@dataclass(frozen=True)
class AuditedBundle:
    path: str
    fingerprint: str
    semantic: str  # fingerprint of the semantic stage


@dataclass(frozen=True)
class AuditedStore:
    path: str
    recordings: int
    held_out: int  # recordings
    hours: float


@dataclass(frozen=True)
class Protocol:
    """How it was measured."""

    examples: int
    control_examples: int
    prompt_tokens: list[int]
    continuation_tokens: int
    frame_rate: float  # tokens a second
    seed: int
    precision: str
    temperature: float
    low_entropy_bits: float


@dataclass(frozen=True)
class Stratum:
    """Stretches that occur about equally often in the training set."""

    name: str
    windows: int
    examples: int


@dataclass(frozen=True)
class Duplicates:
    windows: int
    strata: list[Stratum]
    identical_recordings: list[list[str]]  # groups of ids


@dataclass(frozen=True)
class Fit:
    """The pairs that tau was fitted on."""

    pairs: int
    false_positives: int


@dataclass(frozen=True)
class Calibration:
    regularization: float
    tau: float
    paper_tau: float
    target: float  # false-positive rate
    fitted: Fit
    verified: Verification
    holds: bool  # whether the verified rate's upper bound is below the target


@dataclass(frozen=True)
class MatchRates:
    """Of one set, by one way of decoding, at one prompt length."""

    set: str
    decoding: str
    prompt_tokens: int
    exact: Estimate  # all tokens equal
    agreement: Estimate  # at least 80 % equal
    approximate: Estimate  # cost below tau
    approximate_high_entropy: Estimate  # the same without matches below low_entropy_bits

    def measure(self, name: str) -> Estimate:
        """One of the four by its name."""
        estimate = getattr(self, name)
        assert isinstance(estimate, Estimate), name
        return estimate


@dataclass(frozen=True)
class StratumRates:
    """Of training examples that occur about equally often, greedy."""

    stratum: str
    prompt_tokens: int
    exact: Estimate
    approximate: Estimate


@dataclass(frozen=True)
class CostCounts:
    """How transport costs are distributed, greedy: counts [K] between edges [K + 1]."""

    edges: list[float]
    negatives: list[int]
    held_out: list[int] = field(metadata={"key": "held-out"})
    training: list[int]

    def by_set(self) -> dict[str, list[int]]:
        """The counts by the names that charts give them."""
        return {"negatives": self.negatives, "held-out": self.held_out, "training": self.training}


@dataclass(frozen=True)
class EntropyPoint:
    """A training example, greedy."""

    entropy: float  # bits
    cost: float
    prompt_tokens: int
    matched: bool


@dataclass(frozen=True)
class Power:
    """Of planted copies, by the share of replaced tokens: the share below tau, and the median cost."""

    replaced: list[float]
    near: list[float]
    far: list[float]
    near_cost: list[float]
    far_cost: list[float]


@dataclass(frozen=True)
class NullCosts:
    """How near unrelated music comes."""

    source: str = field(metadata={"key": "from"})
    windows: int
    quantiles: dict[str, float]


@dataclass(frozen=True)
class FoundRates:
    """Continuations nearer than the threshold to some training recording, and to another than their own."""

    set: str
    decoding: str
    prompt_tokens: int
    any_recording: Estimate
    another_recording: Estimate


@dataclass(frozen=True)
class Search:
    windows: int
    null: NullCosts
    threshold: float
    found: list[FoundRates]


@dataclass(frozen=True)
class AudioMeans:
    """How alike the closest pairs sound, and unrelated pairs beside them."""

    pairs: int
    mulan_cosine: float
    mel_distance: float
    unrelated_mulan_cosine: float
    unrelated_mel_distance: float


@dataclass(frozen=True)
class SetRendered:
    """How far the sound that is made of a set's true tokens is from the set's own: mel distances, log10."""

    set: str
    examples: int
    mel_distance: float
    unrelated_mel_distance: float  # from another example's


@dataclass(frozen=True)
class Rendered:
    """Does the acoustic decoder make training music nearer to itself than music it never saw?"""

    sets: list[SetRendered]
    nearer: float  # mel distance of held-out music less that of training music; above 0: memory
    low: float  # of its 95 % interval
    high: float


@dataclass(frozen=True)
class Pair:
    """A continuation and its original."""

    id: str
    start: float  # seconds
    prompt_tokens: int
    decoding: str
    cost: float
    agreement: float
    entropy: float
    generated: list[int]
    target: list[int]
    mulan_cosine: float | None = None
    mel_distance: float | None = None


@dataclass(frozen=True)
class CanaryRates:
    """Of recordings that were planted equally often."""

    repeats: int
    recordings: int
    exact: Estimate
    approximate: Estimate


@dataclass(frozen=True, kw_only=True)
class Report:
    version: int = SCHEMA_VERSION
    made: Made
    bundle: AuditedBundle
    store: AuditedStore
    protocol: Protocol
    duplicates: Duplicates
    calibration: Calibration
    rates: list[MatchRates]
    by_duplicates: list[StratumRates]
    costs: CostCounts
    entropy: list[EntropyPoint]  # up to 2,000
    power: Power
    search: Search | None
    audio: AudioMeans | None
    closest: list[Pair]  # lowest cost first
    canaries: list[CanaryRates] | None
    rendered: Rendered | None = None  # not in reports of earlier versions


def as_json(value: Any) -> Any:
    """A report, or a part of one, as JSON has it: fields in their order, under their keys."""
    if is_dataclass(value):
        return {
            each.metadata.get("key", each.name): as_json(getattr(value, each.name)) for each in fields(value)
        }
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [as_json(each) for each in value]
    return value
