"""What a listening test has found: `musiclm evaluate listening-results`, of the files of its listeners."""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from musiclm.data.left_out import Report, counted
from musiclm.evaluate.listening import FORMAT
from musiclm.evaluate.pictures import intervals
from musiclm.evaluate.results import Table, write_results
from musiclm.evaluate.summary import Summary
from musiclm.files import shown, write_whole
from musiclm.metrics.preferences import Comparison, compare
from musiclm.metrics.statistics import wilson
from musiclm.plots import sheet

CHOICES = range(-2, 3)  # from "A, clearly" to "B, clearly"
SIGNIFICANT = 0.05


@dataclass(frozen=True)
class Answers:
    """What one listener has saved."""

    path: Path
    listener: str
    choices: dict[tuple[str, str], int]  # of clips A and B


def listening_results(
    results: list[Path],
    *,
    key: Path = Path("listening.key.json"),
    out: Path | None = None,
    strict: bool = False,
) -> None:
    """Print how often each system was preferred to each other one, and whether that is more than chance.

    Args:
        results: the files that listeners have saved, of one test.
        key: which clip is whose, as `musiclm evaluate listening` wrote it.
        out: a file for the figures as JSON; a picture of the same name stands beside it.
        strict: exit with 2 if any file is left out.

    Raises:
        FileNotFoundError: there is no key.
        ValueError: it is none, or no file can be used.
    """
    secret = _read_key(key)
    report = Report(strict=strict, what="listener")
    answers = list(_read_answers(results, secret, report))
    report.check(len(answers), ", ".join(map(shown, results)))
    systems, comparisons = judge([each.choices for each in answers], secret["clips"], secret["systems"])
    count = sum(len(each.choices) for each in answers)
    print(
        f"{counted(len(answers), 'listener')}, {counted(count, 'answer')}; question: {secret['question']}\n"
    )
    print(format_tables(systems, comparisons))
    if out is not None:
        content = {
            "test": secret["test"],
            "question": secret["question"],
            "listeners": len(answers),
            "answers": count,
            "wins": systems,
            "comparisons": [
                {"first": one, "second": other, **asdict(each)} for (one, other), each in comparisons.items()
            ],
            "left_out": [{"path": shown(entry.path), "reason": entry.reason} for entry in report.left_out],
        }
        table = table_of(systems, comparisons, secret)
        print(write_results(out, "evaluate listening-results", content, table))
        write_whole(out.with_suffix(".svg"), chart(comparisons).encode())
        print(out.with_suffix(".svg"))
    report.close(len(answers))


def judge(
    answers: Sequence[Mapping[tuple[str, str], int]],
    clips: Mapping[str, Mapping[str, str]],
    systems: Sequence[str],
) -> tuple[dict[str, int], dict[tuple[str, str], Comparison]]:
    """Wins of every system, and how every two compare that were compared.

    Args:
        answers: each listener's, of clips A and B: below 0 for A, above for B.
        clips: the system and the item of every clip.
        systems: their names.
    """
    scores: dict[tuple[str, str], dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    wins = Counter(dict.fromkeys(systems, 0))
    for own in answers:
        for (a, b), choice in own.items():
            one, other = clips[a]["system"], clips[b]["system"]
            if choice:
                wins[one if choice < 0 else other] += 1
            first, second = sorted((one, other))
            # Above 0 for the first of the two by name.
            scores[first, second][clips[a]["item"]].append(-choice if one == first else choice)
    pairs = [pair for pair in combinations(sorted(systems), 2) if pair in scores]
    return dict(wins), {pair: compare(list(scores[pair].values()), tests=len(pairs)) for pair in pairs}


def format_tables(wins: Mapping[str, int], comparisons: Mapping[tuple[str, str], Comparison]) -> str:
    """Wins of each system, most first, and a line for every two."""
    width = max(map(len, [*wins, "second"])) + 2
    lines = [f"{'':<{width}}{'wins':>6}"]
    lines += [f"{name:<{width}}{count:>6}" for name, count in sorted(wins.items(), key=lambda each: -each[1])]
    head = f"{'first':<{width}}{'second':<{width}}{'first':>7}{'second':>8}{'neither':>9}{'items':>7}{'p':>9}"
    lines += ["", head]
    for (one, other), each in comparisons.items():
        mark = "  *" if each.p < SIGNIFICANT else ""
        counts = f"{each.wins:>7}{each.losses:>8}{each.ties:>9}{each.items:>7}"
        lines.append(f"{one:<{width}}{other:<{width}}{counts}{each.p:>9.2g}{mark}")
    tests = len(comparisons)
    lines.append(
        f"p: Wilcoxon signed-rank over items, Bonferroni for {tests} comparisons; * below {SIGNIFICANT}"
    )
    return "\n".join(lines)


def table_of(
    wins: Mapping[str, int], comparisons: Mapping[tuple[str, str], Comparison], secret: Mapping[str, Any]
) -> Table:
    """What the model card shows of it."""
    total = ", ".join(f"{name} {count}" for name, count in wins.items())
    return Table(
        "What people prefer",
        ["first", "second", "prefer the first", "the second", "neither", "p"],
        [
            [one, other, str(each.wins), str(each.losses), str(each.ties), f"{each.p:.2g}"]
            for (one, other), each in comparisons.items()
        ],
        [f"“{secret['question']}” Wins: {total}. p: Wilcoxon signed-rank, Bonferroni."],
    )


def chart(comparisons: Mapping[tuple[str, str], Comparison]) -> str:
    """Of every two systems, their shares of the decided answers, with Wilson's intervals: an SVG file."""
    panels = []
    for (one, other), each in comparisons.items():
        decided = each.wins + each.losses
        if decided:
            rate = each.wins / decided
            share = Summary(rate, *wilson(rate, decided), decided)
            rest = Summary(1 - rate, 1 - share.high, 1 - share.low, decided)
            panels.append(intervals(f"{one} or {other}, {decided} answers", {one: share, other: rest}))
    known = [panel for panel in panels if panel is not None]
    return sheet(known, "Shares of the answers that prefer a system")


def _read_key(file: Path) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f"expected the key of the listening test at {shown(file)}, found none")
    try:
        words = json.loads(file.read_text(encoding="utf-8"))
        missing = {"test", "clips", "systems", "question"} - set(words)
    except (ValueError, TypeError):
        missing = {"test"}
    if missing:
        raise ValueError(f"expected the key of a listening test in {shown(file)}, it has no {min(missing)!r}")
    return dict(words)


def _read_answers(files: Sequence[Path], secret: Mapping[str, Any], report: Report) -> Iterator[Answers]:
    """What the files hold; those that are of another test, broken or given twice are left out."""
    seen: dict[str, Path] = {}
    for file in files:
        try:
            own = _answers_of(file, secret)
            if own.listener in seen:
                raise ValueError(f"by the same listener as {shown(seen[own.listener])}")
        except (ValueError, OSError) as error:
            report.leave_out(file, error)
            continue
        seen[own.listener] = file
        yield own


def _answers_of(file: Path, secret: Mapping[str, Any]) -> Answers:
    try:
        words = json.loads(file.read_text(encoding="utf-8"))
    except UnicodeDecodeError:
        words = None
    except json.JSONDecodeError:
        words = None
    if not isinstance(words, dict) or not isinstance(words.get("answers"), list):
        raise ValueError("expected the answers of a listener, got something else")
    if words.get("format") != FORMAT:
        raise ValueError(f"expected answers of format {FORMAT}, got {words.get('format')}")
    if words.get("test") != secret["test"]:
        raise ValueError(f"of another test ({words.get('test')}, the key is that of {secret['test']})")
    choices = {}
    for each in words["answers"]:
        known = (
            isinstance(each, dict) and each.get("a") in secret["clips"] and each.get("b") in secret["clips"]
        )
        if not known or each.get("choice") not in CHOICES:
            raise ValueError("has an answer that the page cannot have written")
        choices[each["a"], each["b"]] = int(each["choice"])
    if not choices:
        raise ValueError("has no answer")
    return Answers(file, str(words.get("listener")), choices)
