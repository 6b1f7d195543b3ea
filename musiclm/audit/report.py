"""The audit's report: `report.json` for programs, `report.html` for people, `summary.md` for a model card.

    findings, clips -> a folder with three files

The page stands alone: it asks for nothing from outside, and the audio of the closest pairs is inside. Prose
and looks are in `report.html` beside this module, charts in `figures.py`; here are the sentences and tables
that depend on the numbers.

`report.json` is the findings as they came, schema 1. Rates are fractions 0 … 1. An *estimate* is `{count,
examples, rate, low, high}` with a 95 % Wilson interval; its rate may be weighted, so that it need not equal
count / examples. Sets are "training" and "held-out", decodings "greedy" and "sampled". `null |` means: null
where that part was not measured.

    version        1
    made           date, seconds, machine, musiclm (its version)
    bundle         path, fingerprint, semantic (fingerprint of the semantic stage)
    store          path, recordings, held_out (recordings), hours
    protocol       examples, control_examples, prompt_tokens [...], continuation_tokens, frame_rate (tokens a
                   second), seed, precision, temperature, low_entropy_bits
    duplicates     windows, strata [{name, windows, examples}], identical_recordings [[id, id, ...], ...]
    calibration    regularization, tau, paper_tau, target, fitted {pairs, false_positives},
                   verified {pairs, false_positives, rate, upper}, holds (upper <= target)
    rates          [{set, decoding, prompt_tokens, exact, agreement, approximate, approximate_high_entropy}],
                   four estimates: all tokens equal; at least 80 % equal; cost below tau; the same without
                   matches below low_entropy_bits
    by_duplicates  [{stratum, prompt_tokens, exact, approximate}], training, greedy
    costs          edges [K + 1], negatives [K], held-out [K], training [K]: counts by transport cost, greedy
    entropy        [{entropy (bits), cost, prompt_tokens, matched}], training, greedy, up to 2,000
    power          replaced [...], near [...] and far [...] (share of planted copies below tau),
                   near_cost [...] and far_cost [...] (median)
    search         null | windows, null {from, windows, quantiles}, threshold, other_recording (estimate),
                   found [{decoding, prompt_tokens, estimate}]
    audio          null | pairs, mulan_cosine, mel_distance, unrelated_mulan_cosine, unrelated_mel_distance
    closest        [{id, start, prompt_tokens, decoding, cost, agreement, entropy, generated [...],
                   target [...], mulan_cosine (null |), mel_distance (null |)}], lowest cost first
    canaries       null | [{repeats, recordings, exact, approximate}]
"""

import base64
import io
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from musiclm.audio import Audio
from musiclm.audit import figures
from musiclm.audit.figures import NARROW, Estimate, interval, of, percent, share

SCHEMA_VERSION = 1
TEMPLATE = Path(__file__).with_name("report.html")
MEASURES = ("exact", "agreement", "approximate", "approximate_high_entropy")
SET_NAMES = {"training": "training", "held-out": "held out"}
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # Hz, MPEG-1, 2 and 2.5
SHOWN_GROUPS = 20  # of identical recordings; report.json has all
NO_EXAMPLE = {"count": 0, "examples": 0, "rate": 0.0, "low": 0.0, "high": 0.0}

Findings = Mapping[str, Any]


class Markup(str):
    """Text that is HTML already; everything else is escaped on its way into the page."""


def write_report(
    folder: Path, findings: dict[str, Any], clips: Sequence[tuple[Audio, Audio] | None] = ()
) -> None:
    """Write report.json, report.html and summary.md, each renamed when whole; report.json last.

    All three are made before the first is written: a folder with report.json holds a whole report.

    Args:
        folder: where; made if need be.
        findings: what the audit found, as this module's docstring says.
        clips: (generated, original) for each of `findings["closest"]`, None where there is no audio; or ().

    Raises:
        ValueError: the findings hold a number that JSON does not know (NaN, infinity).
    """
    assert findings["version"] == SCHEMA_VERSION, findings["version"]
    texts = {
        "report.html": render_html(findings, clips),
        "summary.md": render_summary(findings),
        "report.json": _render_json(findings),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        temporary = folder / f".{name}.{os.getpid()}.tmp"
        try:
            temporary.write_text(text, encoding="utf-8")
            temporary.replace(folder / name)
        finally:
            temporary.unlink(missing_ok=True)


def _render_json(findings: Findings) -> str:
    """One line a key: it can be read and compared, and thousands of numbers do not take a line each."""
    lines = (
        f"{json.dumps(key)}: {json.dumps(value, allow_nan=False, ensure_ascii=False)}"
        for key, value in findings.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"


# ---- sentences, the same in the page and in the summary ----


def finding_sentence(findings: Findings) -> str:
    """The finding in one sentence: exact matches at the longest prompt, greedy, against the control."""
    training, held_out = _longest(findings, "exact")
    if not training["examples"]:
        return "No training example was tested, so this audit says nothing about memorization."
    return (
        f"Of {training['examples']:,} training examples, the model continued {_count(training)} "
        f"({share(training)}, 95{NARROW}% interval {interval(training)}) token for token when shown "
        f"{_shown(findings, _longest_prompt(findings))} of them; {_control(held_out)}."
    )


def near_copies_sentence(findings: Findings) -> str:
    """The same for approximate matches."""
    training, held_out = _longest(findings, "approximate")
    if not training["examples"]:
        return ""
    return (
        f"It came near the original (transport cost below τ = {findings['calibration']['tau']:.3g}) in "
        f"{_count(training)} ({share(training)}, {interval(training)}); {_control(held_out)}."
    )


def comparison_sentence(findings: Findings) -> str:
    """Whether training and control differ by more than their intervals allow."""
    both = {measure: _longest(findings, measure) for measure in ("exact", "approximate")}
    training, held_out = both["exact"]
    if not training["examples"]:
        return ""
    if not held_out["examples"]:
        return "Without held-out music it cannot be said how many of these would have come about by chance."
    more = [measure for measure, (seen, unseen) in both.items() if seen["low"] > unseen["high"]]
    if more:
        return (
            f"{' and '.join(more).capitalize()} matches are more frequent on training music than on "
            "music it never saw, by more than the intervals allow: some training music is known by heart."
        )
    if training["count"]:
        return (
            "The rates on training and on held-out music do not differ by more than their intervals allow: "
            "this audit alone cannot tell memory from chance here."
        )
    return (
        "Neither rate is higher on training music than on held-out music by more than the intervals allow: "
        "this audit saw no memorization. Rates below the upper ends of the intervals it cannot exclude."
    )


def verified_sentence(findings: Findings) -> str:
    """Whether the false-positive rate is shown on pairs that were not used to fit τ."""
    calibration = findings["calibration"]
    verified, target = calibration["verified"], percent(calibration["target"])
    found = (
        f"On {verified['pairs']:,} unrelated pairs that were not used for fitting, τ = "
        f"{calibration['tau']:.3g} called {verified['false_positives']:,} a match "
        f"({percent(verified['rate'])}{NARROW}%; with 95{NARROW}% confidence at most "
        f"{percent(verified['upper'])}{NARROW}%): a false-positive rate below {target}{NARROW}% is"
    )
    if calibration["holds"]:
        return f"{found} shown."
    return f"{found} not shown, so that some approximate matches may be chance."


def duplicates_sentence(findings: Findings) -> str:
    """What the store holds more than once."""
    duplicates = findings["duplicates"]
    occur = ", ".join(f"{stratum['windows']:,} occur {stratum['name']}×" for stratum in duplicates["strata"])
    groups = len(duplicates["identical_recordings"])
    identical = f"{groups:,} sets of recordings are" if groups != 1 else "1 set of recordings is"
    return (
        f"Of {duplicates['windows']:,} stretches of the training recordings, {occur or 'none was counted'}. "
        f"{identical} identical from beginning to end."
    )


def search_sentence(findings: Findings) -> str:
    """What the search of the whole store compared with, and found."""
    search = findings["search"]
    if search is None:
        return "The store was not searched for windows of other recordings."
    null, other = search["null"], search["other_recording"]
    return (
        f"Each continuation was compared with {search['windows']:,} windows of the training store, not only "
        f"with its own recording. As a yardstick, {null['windows']:,} windows of real music ({null['from']}) "
        f"were searched for in the same way; 1{NARROW}% of them come nearer than {search['threshold']:.3g} "
        f"to some window. Of the continuations, {of(other)} ({share(other)}, {interval(other)}) come nearer "
        "than that to a recording other than their own."
    )


def _control(held_out: Estimate) -> str:
    if not held_out["examples"]:
        return "there was no held-out music to compare with"
    return f"on music it never saw: {of(held_out)} ({share(held_out)}, {interval(held_out)})"


def _count(estimate: Estimate) -> str:
    return f"{estimate['count']:,}" if estimate["count"] else "none"


def _worst_sentence(findings: Findings) -> str:
    rows = [row for row in findings["rates"] if row["set"] == "training" and row["decoding"] == "greedy"]
    worst = max(rows, key=lambda row: row["exact"]["rate"], default=None)
    longest, _ = _longest(findings, "exact")
    if worst is None or not longest["examples"]:
        return ""
    if worst["exact"]["rate"] <= longest["rate"]:
        return "No shorter prompt gave a higher rate of exact matches than the longest."
    prompt = _shown(findings, worst["prompt_tokens"])
    return f"The highest rate of exact matches, {share(worst['exact'])}, came with {prompt} as the prompt."


def _weighting_sentence(findings: Findings) -> str:
    estimates = [row[measure] for row in findings["rates"] for measure in MEASURES]
    if all(abs(e["rate"] * e["examples"] - e["count"]) < 1e-6 for e in estimates):
        return ""
    return (
        " Examples were not drawn evenly, so rates are weighted back to the make-up of the store: they need "
        "not equal the count divided by the examples."
    )


def _entropy_sentence(findings: Findings) -> str:
    points, bits = findings["entropy"], findings["protocol"]["low_entropy_bits"]
    matched = [point["entropy"] for point in points if point["matched"]]
    others = [point["entropy"] for point in points if not point["matched"]]
    if not matched:
        return f"Of the {len(points):,} continuations shown here, none is an approximate match."
    rest = f", the {len(others):,} others of {_mean(others):.1f} bits" if others else ""
    low = sum(entropy < bits for entropy in matched)
    return (
        f"The {len(matched):,} matches shown here have a mean entropy of {_mean(matched):.1f} bits{rest}; "
        f"matches below {bits:g} bits: {low:,}. In MusicLM it was 1.0 bit among the nearest matches, "
        "4.6 over all."
    )


def _power_sentence(findings: Findings) -> str:
    power = findings["power"]
    if not power["replaced"]:
        return "No copies were planted."
    limits = []
    for kind, words in (("near", "similar"), ("far", "distant")):
        seen = [at for at, found in zip(power["replaced"], power[kind], strict=True) if found >= 0.95]
        limits.append(f"{100 * max(seen):g}{NARROW}% {words} tokens" if seen else f"no {words} tokens at all")
    return (
        f"At least 95{NARROW}% of the copies planted on purpose are still found with up to "
        f"{' or '.join(limits)} in place of the true ones. A copy that was changed more may go unseen."
    )


# ---- the page ----


def render_html(findings: Findings, clips: Sequence[tuple[Audio, Audio] | None] = ()) -> str:
    """The whole page."""
    present = {
        **{name: findings[name] is not None for name in ("search", "audio", "canaries")},
        **{name: bool(findings[name]) for name in ("by_duplicates", "entropy", "closest")},
        "power": bool(findings["power"]["replaced"]),
    }
    fields = _plain_values(findings) | _sentences(findings) | _tables_and_figures(findings)
    for name, section in (("search", _search), ("audio", _audio), ("canaries", _canaries)):
        if present[name]:
            fields |= section(findings)
    fields["closest"] = _closest(findings, clips)
    page = Template(_with_sections(TEMPLATE.read_text(encoding="utf-8"), present))
    return page.substitute({name: _html(value) for name, value in fields.items()})


def _with_sections(template: str, present: Mapping[str, bool]) -> str:
    """Keep or drop what stands between `<!-- if NAME -->` and `<!-- end NAME -->`."""
    return re.sub(
        r"<!-- if (\w+) -->\n?(.*?)<!-- end \1 -->\n?",
        lambda match: match[2] if present[match[1]] else "",
        template,
        flags=re.DOTALL,
    )


def _plain_values(findings: Findings) -> dict[str, str]:
    """Single values as `SECTION_KEY`, as people write them."""
    return {
        f"{section}_{key}": value
        if isinstance(value, str)
        else f"{value:,}"
        if isinstance(value, int)
        else f"{value:.3g}"
        for section in ("made", "bundle", "store", "protocol", "calibration", "audio")
        for key, value in (findings[section] or {}).items()
        if isinstance(value, str | int | float)
    }


def _sentences(findings: Findings) -> dict[str, str]:
    calibration, protocol, edges = findings["calibration"], findings["protocol"], findings["costs"]["edges"]
    inside = bool(edges) and edges[0] <= calibration["paper_tau"] <= edges[-1]
    minutes, seconds = divmod(round(findings["made"]["seconds"]), 60)
    return {
        "finding": finding_sentence(findings),
        "near_copies": near_copies_sentence(findings),
        "comparison": comparison_sentence(findings),
        "weighting": _weighting_sentence(findings),
        "continuation_seconds": _seconds(findings, protocol["continuation_tokens"]),
        "strip_seconds": str(protocol["continuation_tokens"] / protocol["frame_rate"]),
        "prompts": ", ".join(str(tokens) for tokens in _prompts(findings)),
        "longest_prompt": _seconds(findings, _longest_prompt(findings)),
        "worst": _worst_sentence(findings),
        "duplicates": duplicates_sentence(findings),
        "target": f"{percent(calibration['target'])}{NARROW}%",
        "fitted_pairs": f"{calibration['fitted']['pairs']:,}",
        "fitted_false_positives": f"{calibration['fitted']['false_positives']:,}",
        "verified": verified_sentence(findings),
        "verdict_css": "" if calibration["holds"] else " short",
        "paper_tau_note": "The dotted line shows it." if inside else "It lies outside the charts.",
        "entropy": _entropy_sentence(findings),
        "power": _power_sentence(findings),
        "duration": f"{minutes} min {seconds} s",
        "not_measured": _not_measured(findings),
    }


def _tables_and_figures(findings: Findings) -> dict[str, str]:
    calibration, costs = findings["calibration"], findings["costs"]
    counts = {name: costs[name] for name in ("negatives", "held-out", "training")}
    edges, tau = costs["edges"], calibration["tau"]
    return {
        "rates_figure": Markup(_rates_chart(findings, "exact") + _rates_chart(findings, "approximate")),
        "rates_table": _rates_table(findings),
        "duplicates_figure": Markup(_duplicates_chart(findings)),
        "duplicates_table": _duplicates_table(findings),
        "identical": _identical(findings),
        "costs_figure": Markup(
            figures.densities(edges, counts, tau, calibration["paper_tau"])
            + figures.cumulatives(edges, counts, tau, calibration["target"])
        ),
        "entropy_figure": Markup(
            figures.scatter(findings["entropy"], tau, findings["protocol"]["low_entropy_bits"])
        ),
        "power_figure": Markup(_power_charts(findings)),
    }


def _rates_chart(findings: Findings, measure: str) -> str:
    rows = [row for row in findings["rates"] if row["decoding"] == "greedy"]
    return _by_prompt(
        findings,
        f"{measure.capitalize()} matches",
        {
            kind: [(row["prompt_tokens"], row[measure]) for row in rows if row["set"] == kind]
            for kind in SET_NAMES
        },
    )


def _by_prompt(findings: Findings, title: str, series: Mapping[str, Any], **options: Any) -> str:
    names = [(tokens, f"{tokens}\n{_seconds(findings, tokens)}") for tokens in _prompts(findings)]
    return figures.intervals(title, series, names, "prompt length T, in tokens and seconds", **options)


def _rates_table(findings: Findings) -> Markup:
    rows = sorted(
        findings["rates"], key=lambda row: (row["decoding"], row["prompt_tokens"], row["set"] != "training")
    )
    low_entropy = f"Approximate, without matches below {findings['protocol']['low_entropy_bits']:g} bits"
    return _table(
        "All rates with their 95 % intervals, and the counts behind them",
        ["Decoding, prompt", "Music", "Exact", "At least 80 % of tokens equal", "Approximate", low_entropy],
        [
            [
                f"{row['decoding']}, {_seconds(findings, row['prompt_tokens'])}",
                SET_NAMES[row["set"]],
                *(_estimate(row[measure]) for measure in MEASURES),
            ]
            for row in rows
        ],
        groups=True,
    )


def _duplicates_chart(findings: Findings) -> str:
    rows = [row for row in findings["by_duplicates"] if row["prompt_tokens"] == _longest_prompt(findings)]
    return _by_place(rows, [row["stratum"] for row in rows], "occurrences in the training store")


def _by_place(rows: Sequence[Mapping[str, Any]], names: Sequence[object], label: str) -> str:
    """A chart of exact and approximate matches over places that have names and no distances."""
    kinds = ("exact", "approximate")
    series = {kind: [(float(at), row[kind]) for at, row in enumerate(rows)] for kind in kinds}
    places = [(float(at), str(name)) for at, name in enumerate(names)]
    return figures.intervals("Share of examples", series, places, label)


def _duplicates_table(findings: Findings) -> Markup:
    strata = {stratum["name"]: stratum for stratum in findings["duplicates"]["strata"]}
    return _table(
        "Match rates by number of occurrences, greedy decoding",
        ["Occurrences", "Stretches in the store", "Prompt", "Exact", "Approximate"],
        [
            [
                row["stratum"],
                f"{strata[row['stratum']]['windows']:,}" if row["stratum"] in strata else "not counted",
                _seconds(findings, row["prompt_tokens"]),
                _estimate(row["exact"]),
                _estimate(row["approximate"]),
            ]
            for row in findings["by_duplicates"]
        ],
        groups=True,
    )


def _identical(findings: Findings) -> Markup:
    groups = findings["duplicates"]["identical_recordings"]
    if not groups:
        return Markup("")
    items = "".join(f"<li>{escape(', '.join(group))}</li>" for group in groups[:SHOWN_GROUPS])
    more = len(groups) - SHOWN_GROUPS
    rest = f"<li>and {more:,} more, in report.json</li>" if more > 0 else ""
    return Markup(f"<details><summary>Identical recordings</summary><ul>{items}{rest}</ul></details>")


def _power_charts(findings: Findings) -> str:
    power, tau = findings["power"], findings["calibration"]["tau"]
    replaced, level = power["replaced"], (tau, f"τ = {tau:.3g}")
    seen = {kind: power[kind] for kind in ("near", "far")}
    costs = {kind: power[f"{kind}_cost"] for kind in ("near", "far")}
    return figures.curves(
        "Share of planted copies below τ", replaced, seen, percentages=True
    ) + figures.curves("Their median transport cost", replaced, costs, percentages=False, level=level)


def _search(findings: Findings) -> dict[str, str]:
    found = findings["search"]["found"]
    series = {
        decoding: [(row["prompt_tokens"], row["estimate"]) for row in found if row["decoding"] == decoding]
        for decoding in ("greedy", "sampled")
    }
    chart = _by_prompt(
        findings, "Nearer than the threshold to some recording", series, reference=(0.01, "without memory")
    )
    cells = {(row["decoding"], row["prompt_tokens"]): _estimate(row["estimate"]) for row in found}
    rows = [
        [_seconds(findings, tokens), *(cells.get((decoding, tokens), "not searched") for decoding in series)]
        for tokens in _prompts(findings)
    ]
    return {
        "search": search_sentence(findings),
        "search_figure": Markup(chart),
        "search_table": _table(
            "Continuations nearer than the threshold to some recording", ["Prompt", "Greedy", "Sampled"], rows
        ),
    }


def _audio(findings: Findings) -> dict[str, str]:
    audio = findings["audio"]
    rows = [
        [name, _measured(audio[f"{key}mulan_cosine"]), _measured(audio[f"{key}mel_distance"])]
        for name, key in (("closest", ""), ("unrelated", "unrelated_"))
    ]
    return {"audio_table": _table("Means over pairs", ["Pairs", "MuLan cosine", "Mel distance"], rows)}


def _canaries(findings: Findings) -> dict[str, str]:
    canaries = findings["canaries"]
    repeats = [row["repeats"] for row in canaries]
    rows = [
        [str(row["repeats"]), str(row["recordings"]), _estimate(row["exact"]), _estimate(row["approximate"])]
        for row in canaries
    ]
    return {
        "canaries_figure": Markup(_by_place(canaries, repeats, "times repeated in training")),
        "canaries_table": _table(
            "Match rates of canaries", ["Repeats", "Recordings", "Exact", "Approximate"], rows
        ),
    }


def _closest(findings: Findings, clips: Sequence[tuple[Audio, Audio] | None]) -> Markup:
    pairs = findings["closest"]
    cards = [
        _card(findings, rank, pair, clip)
        for rank, (pair, clip) in enumerate(zip(pairs, clips or [None] * len(pairs), strict=True), start=1)
    ]
    return Markup("\n".join(cards))


def _card(findings: Findings, rank: int, pair: Mapping[str, Any], clip: tuple[Audio, Audio] | None) -> str:
    minutes, seconds = divmod(pair["start"], 60)
    equal = sum(a == b for a, b in zip(pair["generated"], pair["target"], strict=True))
    details = [
        f"prompt {_seconds(findings, pair['prompt_tokens'])}, {pair['decoding']}",
        f"cost {pair['cost']:.3g}",
        f"{equal} of {len(pair['target'])} tokens equal",
        f"entropy {pair['entropy']:.1f} bits",
        f"MuLan cosine {_measured(pair['mulan_cosine'])}",
        f"mel distance {_measured(pair['mel_distance'])}",
    ]
    players = "" if clip is None else _players(clip)
    return (
        f"<article><h3>{rank}. {escape(pair['id'])}, from {minutes:.0f}:{seconds:04.1f}</h3>"
        f'<p class="meta">{escape(" · ".join(details))}</p>'
        f'<div class="strips">{figures.strips(pair["generated"], pair["target"])}</div>{players}</article>'
    )


def _players(clip: tuple[Audio, Audio]) -> str:
    labels = ("Generated", "Original")
    return (
        '<div class="players">'
        + "".join(
            f'<label>{label}<audio controls preload="none" src="{_data_uri(audio)}"></audio></label>'
            for label, audio in zip(labels, clip, strict=True)
        )
        + "</div>"
    )


def _data_uri(audio: Audio) -> str:
    """A clip as MP3, which every browser plays, inside the page."""
    import soundfile

    audio = audio.mono()
    audio = audio if audio.sample_rate in MP3_RATES else audio.resample(44_100)
    samples = audio.waveform.clamp(-1, 1)[0].cpu().numpy()  # [L]
    file = io.BytesIO()
    soundfile.write(file, samples, audio.sample_rate, format="MP3", subtype="MPEG_LAYER_III")
    return f"data:audio/mpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def _not_measured(findings: Findings) -> Markup:
    names = {"search": "the whole store", "audio": "the closest pairs as audio", "canaries": "canaries"}
    absent = [name for key, name in names.items() if findings[key] is None]
    return Markup(f"<li>Not measured in this run: {', '.join(absent)}.</li>" if absent else "")


# ---- the summary ----


def render_summary(findings: Findings) -> str:
    """A section for a model card, as Markdown."""
    rows = [
        f"| {_seconds(findings, tokens)} | " + " | ".join(_summary_cells(findings, tokens)) + " |"
        for tokens in _prompts(findings)
    ]
    lines = [
        "## Memorization",
        "",
        f"{finding_sentence(findings)} {near_copies_sentence(findings)} {comparison_sentence(findings)}",
        "",
        "| prompt | exact, training | exact, held out | approximate, training | approximate, held out |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"- Greedy decoding, 95{NARROW}% intervals. {verified_sentence(findings)}",
        f"- {duplicates_sentence(findings)}",
        f"- {search_sentence(findings)}",
        f"- Audited on {findings['made']['date']}, bundle `{findings['bundle']['fingerprint']}`.",
    ]
    return "\n".join(lines) + "\n"


def _summary_cells(findings: Findings, tokens: int) -> Iterable[str]:
    for measure in ("exact", "approximate"):
        for kind in SET_NAMES:
            estimate = _greedy(findings, kind, tokens, measure)
            yield f"{share(estimate)} ({interval(estimate)})" if estimate["examples"] else "not tested"


# ---- small parts ----


def _prompts(findings: Findings) -> list[int]:
    return sorted(findings["protocol"]["prompt_tokens"])


def _longest_prompt(findings: Findings) -> int:
    return max(_prompts(findings))


def _greedy(findings: Findings, kind: str, tokens: int, measure: str) -> Estimate:
    for row in findings["rates"]:
        if (row["set"], row["decoding"], row["prompt_tokens"]) == (kind, "greedy", tokens):
            return row[measure]
    return NO_EXAMPLE


def _longest(findings: Findings, measure: str) -> tuple[Estimate, Estimate]:
    """Training and held-out estimate at the longest prompt: the hardest test, and the paper's headline."""
    longest = _longest_prompt(findings)
    return _greedy(findings, "training", longest, measure), _greedy(findings, "held-out", longest, measure)


def _seconds(findings: Findings, tokens: int) -> str:
    return f"{tokens / findings['protocol']['frame_rate']:g}{NARROW}s"


def _shown(findings: Findings, tokens: int) -> str:
    return _seconds(findings, tokens) if tokens else "nothing but the conditioning"


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _measured(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}"


def _estimate(estimate: Estimate) -> Markup:
    if not estimate["examples"]:
        return Markup("not tested")
    return Markup(
        f'<span class="rate">{share(estimate)}</span> <span class="detail">{of(estimate)}<br>'
        f"({interval(estimate)})</span>"
    )


def _html(value: str) -> str:
    return value if isinstance(value, Markup) else escape(value)


def _table(
    caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], *, groups: bool = False
) -> Markup:
    """A table in a box of its own to scroll in; `groups`: a line where the first cell changes."""
    if not rows:
        return Markup("")
    body, before = "", rows[0][0]
    for first, *rest in rows:
        opening = '<tr class="new">' if groups and first != before else "<tr>"
        cells = "".join(f"<td>{_html(cell)}</td>" for cell in rest)
        body += f'{opening}<th scope="row">{_html(first)}</th>{cells}</tr>'
        before = first
    names = "".join(f'<th scope="col">{_html(name)}</th>' for name in head)
    return Markup(
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table>'
        f"<caption>{_html(caption)}</caption><thead><tr>{names}</tr></thead><tbody>{body}</tbody></table></div>"
    )
