"""Plausible findings of an audit, for tests of its report: what `musiclm audit` could have measured."""

import math
import random
from dataclasses import fields, is_dataclass
from types import NoneType
from typing import Any, get_args, get_type_hints

from musiclm.audit.schema import Report

PROMPTS = [0, 25, 50, 125, 250]
SETS = {"training": 2_000, "held-out": 470}
TAU = 3.21


def read(findings: dict[str, Any]) -> Report:
    """The report that is written as these findings."""
    report = _read(findings, Report)
    assert isinstance(report, Report)
    return report


def _read(value: Any, kind: Any) -> Any:
    """A value of report.json as the dataclass that it was."""
    if value is None:
        return None
    if NoneType in get_args(kind):
        (kind,) = (each for each in get_args(kind) if each is not NoneType)
    if is_dataclass(kind):
        hints = get_type_hints(kind)
        keys = {each.metadata.get("key", each.name): each.name for each in fields(kind)}
        assert set(value) == set(keys)
        return kind(**{name: _read(value[key], hints[name]) for key, name in keys.items()})
    if isinstance(value, list):
        (inside,) = get_args(kind)
        return [_read(each, inside) for each in value]
    return value


def estimate(count: int, examples: int) -> dict[str, Any]:
    """A rate with its 95 % Wilson interval, zeros where there are no examples."""
    if not examples:
        return {"count": 0, "examples": 0, "rate": 0.0, "low": 0.0, "high": 0.0}
    z, rate = 1.959964, count / examples
    middle = (rate + z * z / (2 * examples)) / (1 + z * z / examples)
    half = z / (1 + z * z / examples) * math.sqrt(rate * (1 - rate) / examples + z * z / (4 * examples**2))
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    return {"count": count, "examples": examples, "rate": rate, "low": low, "high": high}


def make_findings(**changes: Any) -> dict[str, Any]:
    """Findings with every section; `changes` replace whole sections."""
    chance = random.Random(0)
    findings = {
        "version": 1,
        "made": {
            "date": "2026-11-21",
            "seconds": 812.4,
            "machine": "2 threads, AMD EPYC",
            "musiclm": "0.1.0",
        },
        "bundle": {"path": "default", "fingerprint": "11b5c0ffee", "semantic": "5e3a47"},
        "store": {"path": "tokens", "recordings": 650, "held_out": 94, "hours": 8.0},
        "protocol": {
            "examples": 2_000,
            "control_examples": 470,
            "prompt_tokens": PROMPTS,
            "continuation_tokens": 125,
            "frame_rate": 25.0,
            "seed": 0,
            "precision": "float32",
            "temperature": 1.0,
            "low_entropy_bits": 2.0,
        },
        "duplicates": {
            "windows": 3_500,
            "strata": [
                {"name": "1", "windows": 3_400, "examples": 1_900},
                {"name": "2-3", "windows": 80, "examples": 80},
                {"name": "4-15", "windows": 20, "examples": 20},
            ],
            "identical_recordings": [["piece-00003", "piece-00377"], ["piece-00120", "piece-00121"]],
        },
        "calibration": {
            "regularization": 0.4,
            "tau": TAU,
            "paper_tau": 0.85,
            "target": 0.0001,
            "fitted": {"pairs": 100_000, "false_positives": 1},
            "verified": {"pairs": 100_000, "false_positives": 2, "rate": 2e-5, "upper": 6.3e-5},
            "holds": True,
        },
        "rates": [
            _rates(kind, decoding, at)
            for kind in SETS
            for decoding in ("greedy", "sampled")
            for at in range(len(PROMPTS))
        ],
        "by_duplicates": [
            {
                "stratum": name,
                "prompt_tokens": 250,
                "exact": estimate(few, n),
                "approximate": estimate(many, n),
            }
            for name, n, few, many in (("1", 1_900, 1, 16), ("2-3", 80, 1, 3), ("4-15", 20, 1, 2))
        ],
        "costs": _costs(),
        "entropy": _entropy(chance),
        "power": _power(),
        "search": {
            "windows": 28_000,
            "null": {"from": "held-out recordings", "windows": 470, "quantiles": {"0.01": 2.2, "0.5": 4.4}},
            "threshold": 2.2,
            "found": [
                {
                    "set": kind,
                    "decoding": decoding,
                    "prompt_tokens": tokens,
                    "any_recording": estimate(count + 4 * at, examples),
                    "another_recording": estimate(count + 2 * at, examples),
                }
                for kind, examples in SETS.items()
                for decoding, count in (("greedy", 21), ("sampled", 14))
                for at, tokens in enumerate(PROMPTS)
            ],
        },
        "audio": {
            "pairs": 10,
            "mulan_cosine": 0.81,
            "mel_distance": 0.42,
            "unrelated_mulan_cosine": 0.31,
            "unrelated_mel_distance": 0.93,
        },
        "closest": [_pair(chance, rank) for rank in range(10)],
        "canaries": [
            {"repeats": n, "recordings": 8, "exact": estimate(few, 64), "approximate": estimate(many, 64)}
            for n, few, many in ((1, 0, 1), (4, 2, 5), (16, 19, 30), (64, 61, 63))
        ],
        "rendered": {
            "sets": [
                {"set": "training", "examples": 40, "mel_distance": 0.31, "unrelated_mel_distance": 0.92},
                {"set": "held-out", "examples": 40, "mel_distance": 0.32, "unrelated_mel_distance": 0.91},
            ],
            "nearer": 0.01,
            "low": -0.02,
            "high": 0.04,
        },
    }
    return findings | changes


def without(findings: dict[str, Any], kind: str) -> dict[str, Any]:
    """The same findings, had no example of a set been tested."""

    def blank(row: dict[str, Any]) -> dict[str, Any]:
        if row["set"] != kind:
            return row
        return {key: estimate(0, 0) if isinstance(value, dict) else value for key, value in row.items()}

    rates = [blank(row) for row in findings["rates"]]
    search = findings["search"] | {"found": [blank(row) for row in findings["search"]["found"]]}
    costs = findings["costs"] | {kind: [0] * len(findings["costs"][kind])}
    return findings | {"rates": rates, "costs": costs, "search": search}


def _rates(kind: str, decoding: str, at: int) -> dict[str, Any]:
    examples = SETS[kind]
    exact = (0, 0, 1, 2, 3)[at] if (kind, decoding) == ("training", "greedy") else 0
    near = at + (9 if kind == "training" else 1)
    return {
        "set": kind,
        "decoding": decoding,
        "prompt_tokens": PROMPTS[at],
        "exact": estimate(exact, examples),
        "agreement": estimate(exact + at, examples),
        "approximate": estimate(near + exact, examples),
        "approximate_high_entropy": estimate(near // 3, examples),
    }


def _costs() -> dict[str, Any]:
    edges = [0.25 * index for index in range(49)]
    costs: dict[str, Any] = {"edges": edges}
    for name, middle, size in (
        ("negatives", 8.0, 100_000),
        ("held-out", 6.4, 2_350),
        ("training", 6.1, 10_000),
    ):
        weights = [math.exp(-0.5 * ((edge + 0.125 - middle) / 1.35) ** 2) for edge in edges[:-1]]
        costs[name] = [round(size * weight / sum(weights)) for weight in weights]
    costs["training"][2] += 3
    return costs


def _entropy(chance: random.Random) -> list[dict[str, Any]]:
    points = []
    for _ in range(2_000):
        entropy = min(6.5, max(0.0, chance.gauss(4.4, 0.9)))
        cost = max(0.05, chance.gauss(6.1, 1.3) * (0.45 + 0.125 * entropy))
        points.append({"entropy": entropy, "cost": cost, "prompt_tokens": 250, "matched": cost < TAU})
    return points


def _power() -> dict[str, Any]:
    power: dict[str, Any] = {"replaced": [round(0.05 * step, 2) for step in range(11)]}
    for kind, slope in (("near", 3.2), ("far", 16.8)):
        costs = [slope * replaced for replaced in power["replaced"]]
        power[kind] = [1 / (1 + math.exp(4 * (cost - TAU))) for cost in costs]
        power[f"{kind}_cost"] = costs
    return power


def _pair(chance: random.Random, rank: int) -> dict[str, Any]:
    motif = [chance.randrange(1_024) for _ in range(25)]
    target = [motif[(step // 2) % 25] for step in range(125)]
    generated = [token if chance.random() < 0.95 - 0.08 * rank else chance.choice(motif) for token in target]
    equal = sum(a == b for a, b in zip(generated, target, strict=True))
    return {
        "id": f"piece-{37 * rank + 12:05d}",
        "start": 5.0 + 31.5 * rank,
        "prompt_tokens": 250,
        "decoding": "sampled" if rank == 4 else "greedy",
        "cost": 0.11 + 0.3 * rank,
        "agreement": equal / 125,
        "entropy": 3.4,
        "generated": generated,
        "target": target,
        "mulan_cosine": 0.9 - 0.02 * rank,
        "mel_distance": None if rank == 9 else 0.3,
    }
