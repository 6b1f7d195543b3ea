"""The hub's model card of a bundle: `musiclm bundle card` writes README.md from what was measured of it.

It reads files alone: the json that `musiclm evaluate` leaves, of which it takes the table, and the audit's
`report.json`. What was not measured is not claimed.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from musiclm.bundle.reading import Bundle
from musiclm.files import shown, write_whole

FORMAT = 1  # of results; a later one may mean something else
AUDIT_VERSION = 1
TAGS = ("music", "audio-generation", "musiclm")


def card(
    bundle: str,
    *,
    results: Sequence[Path] = (),
    audit: Path | None = None,
    license: str = "unknown",
    datasets: Sequence[str] = (),
    tags: Sequence[str] = (),
    name: str | None = None,
    out: Path | None = None,
) -> None:
    """Write the hub's model card of a bundle from evaluation results and the audit's report.

    Args:
        bundle: a shipped bundle's name, or a folder.
        results: json files of `musiclm evaluate`, all of this bundle.
        audit: report.json of `musiclm audit`, of this very bundle.
        license: as the hub names it (apache-2.0, cc-by-nc-4.0, ...).
        datasets: the hub's ids of what it was trained on.
        tags: beside those that every music model has.
        name: what the model is called; the folder's name by default.
        out: the file; README.md in the bundle by default.

    Raises:
        FileNotFoundError: nothing at one of the paths.
        ValueError: a file is no such result, or that of another bundle.
    """
    found = Bundle.find(bundle)
    sections = [_results_section([_read_table(file, found) for file in results])]
    if audit is not None:
        sections.append(_audit_section(_read_audit(audit, found)))
    words = render_card(
        found,
        name=name or found.path.resolve().name,
        sections=[section for section in sections if section],
        license=license,
        datasets=datasets,
        tags=tags,
    )
    file = out or found.path / "README.md"
    write_whole(file, words.encode())
    print(f"{shown(file)}: {len(results)} results, {'an' if audit else 'no'} audit")


def render_card(
    bundle: Bundle,
    *,
    name: str,
    sections: Sequence[str],
    license: str,
    datasets: Sequence[str] = (),
    tags: Sequence[str] = (),
) -> str:
    """The card as Markdown, with what the hub reads before it."""
    matter: dict[str, Any] = {
        "license": license,
        "library_name": "musiclm",
        "pipeline_tag": "text-to-audio",
        "tags": list(dict.fromkeys((*TAGS, *tags))),
    }
    if datasets:
        matter["datasets"] = list(datasets)
    data = ", ".join(datasets) if datasets else "not named by those who trained it"
    parts = [
        f"---\n{yaml.safe_dump(matter, sort_keys=False, allow_unicode=True)}---",
        f"# {_plain(name)}",
        "Music from a description in words, by [MusicLM](https://arxiv.org/abs/2301.11325)'s way: semantic "
        "tokens from the words, and sound from the tokens.",
        f'```sh\nmusiclm generate "a calm violin melody over soft piano chords" --bundle {name}\n```',
        "## What is in it",
        _table(["component", "class", "fingerprint"], list(_components(bundle))),
        f"Bundle `{bundle.fingerprint()}`. Trained on: {_plain(data)}.",
        *sections,
    ]
    if not sections:
        parts.append("Nothing has been measured of this model yet.")
    return "\n\n".join(parts) + "\n"


def _components(bundle: Bundle) -> Iterator[list[str]]:
    for role, component in bundle.components.items():
        yield [role, component.class_path.rpartition(".")[2], f"`{bundle.fingerprint(role)}`"]


def _results_section(tables: Sequence[Mapping[str, Any]]) -> str:
    if not tables:
        return ""
    parts = ["## Evaluation"]
    for each in tables:
        table = each["table"]
        head = [str(cell) for cell in table["head"]]
        rows = [[str(cell) for cell in row] for row in table["rows"]]
        notes = [str(note) for note in table.get("notes", [])]
        made = f"`musiclm {each['command']}`, {each['date']}, musiclm {each['musiclm']}."
        parts += [
            f"### {_plain(str(table['title']))}",
            _table(head, rows),
            " ".join([*map(_plain, notes), made]),
        ]
    return "\n\n".join(parts)


def _audit_section(report: Mapping[str, Any]) -> str:
    """How often the model repeats its training data, beside held-out music, by the length of the prompt."""
    rate = float(report["protocol"]["frame_rate"])
    rows: dict[tuple[str, int], dict[str, Mapping[str, Any]]] = {}
    for each in report["rates"]:
        rows.setdefault((str(each["decoding"]), int(each["prompt_tokens"])), {})[str(each["set"])] = each
    cells = []
    for (decoding, tokens), sets in sorted(rows.items()):
        row = [decoding, f"{tokens / rate:g} s"]
        row += [
            _share(sets[kind][measure]) if kind in sets else "not tested"
            for measure in ("exact", "approximate")
            for kind in ("training", "held-out")
        ]
        cells.append(row)
    head = ["decoding", "prompt", "exact, training", "exact, held out", "approximate, training"]
    return "\n\n".join(
        [
            "## Memorization",
            "Share of continuations that repeat the recording they were begun with (95 % intervals). "
            "Held-out music shows how much of it is chance.",
            _table([*head, "approximate, held out"], cells),
            f"`musiclm audit`, {report['made']['date']}, musiclm {report['made']['musiclm']}.",
        ]
    )


def _share(estimate: Mapping[str, Any]) -> str:
    if not estimate["examples"]:
        return "not tested"
    rate, low, high = (100 * float(estimate[key]) for key in ("rate", "low", "high"))
    return f"{rate:.2f} % ({low:.2f}–{high:.2f})"


def _read_table(file: Path, bundle: Bundle) -> dict[str, Any]:
    """A results file that has a table; where it says of which bundle it is, it is of this one.

    Raises:
        FileNotFoundError, ValueError: there is none, or it is something else.
    """
    words = _read(file, "results of musiclm evaluate")
    if words.get("format") != FORMAT:
        raise ValueError(f"expected results of format {FORMAT} in {shown(file)}, got {words.get('format')}")
    table = words.get("table")
    if not isinstance(table, dict) or not {"title", "head", "rows"} <= set(table):
        raise ValueError(f"expected a table in {shown(file)}, it has none: make it by musiclm evaluate")
    if any(len(row) != len(table["head"]) for row in table["rows"]):
        raise ValueError(f"expected rows as long as the head in {shown(file)}: its table is damaged")
    measured = words.get("bundle")  # of results of folders, nobody says whose the clips are
    fingerprint = measured.get("fingerprint") if isinstance(measured, dict) else measured
    if fingerprint not in (None, bundle.fingerprint()):
        raise ValueError(
            f"expected results of this bundle ({bundle.fingerprint()}), {shown(file)} has those of "
            f"{fingerprint}"
        )
    return words


def _read_audit(file: Path, bundle: Bundle) -> dict[str, Any]:
    report = _read(file, "the audit's report.json")
    if report.get("version") != AUDIT_VERSION or "rates" not in report:
        raise ValueError(f"expected the audit's report.json (version {AUDIT_VERSION}) in {shown(file)}")
    audited = report["bundle"]["fingerprint"]
    if audited != bundle.fingerprint():
        raise ValueError(
            f"expected the audit of this bundle ({bundle.fingerprint()}), {shown(file)} is that of {audited}"
        )
    return report


def _read(file: Path, what: str) -> dict[str, Any]:
    if not file.is_file():
        raise FileNotFoundError(f"expected {what} at {shown(file)}, found none")
    try:
        words = json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        words = None
    if not isinstance(words, dict):
        raise ValueError(f"expected {what} in {shown(file)}, it holds something else")
    return words


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(_plain, line)) + " |" for line in lines)


def _plain(text: str) -> str:
    """Text that Markdown and the hub show as it is, on one line."""
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
