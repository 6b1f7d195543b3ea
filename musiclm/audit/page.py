"""The audit's page: tables and players; prose and looks stand in `report.html`, charts in `figures.py`."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from musiclm.audio import Audio
from musiclm.audit import figures, sentences
from musiclm.audit.figures import NARROW, Estimate, interval, of, percent, share
from musiclm.audit.sentences import MEASURES, SET_NAMES, Findings, longest_prompt, prompts, seconds_of

TEMPLATE = Path(__file__).with_name("report.html")
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # Hz, MPEG-1, 2 and 2.5
SHOWN_GROUPS = 20  # of identical recordings; report.json has all


class Markup(str):
    """Text that is HTML already; everything else is escaped on its way into the page."""


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
        "finding": sentences.finding_sentence(findings),
        "near_copies": sentences.near_copies_sentence(findings),
        "comparison": sentences.comparison_sentence(findings),
        "sampled": sentences.sampled_sentence(findings),
        "weighting": sentences.weighting_sentence(findings),
        "continuation_seconds": seconds_of(findings, protocol["continuation_tokens"]),
        "strip_seconds": str(protocol["continuation_tokens"] / protocol["frame_rate"]),
        "prompts": ", ".join(str(tokens) for tokens in prompts(findings)),
        "longest_prompt": seconds_of(findings, longest_prompt(findings)),
        "worst": sentences.worst_sentence(findings),
        "duplicates": sentences.duplicates_sentence(findings),
        "target": f"{percent(calibration['target'])}{NARROW}%",
        "fitted_pairs": f"{calibration['fitted']['pairs']:,}",
        "fitted_false_positives": f"{calibration['fitted']['false_positives']:,}",
        "verified": sentences.verified_sentence(findings),
        "verdict_css": "" if calibration["holds"] else " short",
        "paper_tau_note": "The dotted line shows it." if inside else "It lies outside the charts.",
        "entropy": sentences.entropy_sentence(findings),
        "power": sentences.power_sentence(findings),
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
    return by_prompt(
        findings,
        f"{measure.capitalize()} matches",
        {
            kind: [(row["prompt_tokens"], row[measure]) for row in rows if row["set"] == kind]
            for kind in SET_NAMES
        },
    )


def by_prompt(findings: Findings, title: str, series: Mapping[str, Any], **options: Any) -> str:
    """A chart of rates over the prompt length: series of (prompt tokens, estimate) by their css class."""
    names = [(tokens, f"{tokens}\n{seconds_of(findings, tokens)}") for tokens in prompts(findings)]
    return figures.intervals(title, series, names, "prompt length T, in tokens and seconds", **options)


def _rates_table(findings: Findings) -> Markup:
    low_entropy = f"Approximate, without matches below {findings['protocol']['low_entropy_bits']:g} bits"
    return _table(
        "All rates with their 95 % intervals, and the counts behind them",
        ["Decoding, prompt", "Music", "Exact", "At least 80 % of tokens equal", "Approximate", low_entropy],
        [
            [*_row_head(findings, row), *(_estimate(row[measure]) for measure in MEASURES)]
            for row in sorted(findings["rates"], key=_row_order)
        ],
        groups=True,
    )


def _row_order(row: Mapping[str, Any]) -> tuple[str, int, bool]:
    return row["decoding"], row["prompt_tokens"], row["set"] != "training"


def _row_head(findings: Findings, row: Mapping[str, Any]) -> list[str]:
    """How a table of every set, decoding and prompt calls a row."""
    return [f"{row['decoding']}, {seconds_of(findings, row['prompt_tokens'])}", SET_NAMES[row["set"]]]


def _duplicates_chart(findings: Findings) -> str:
    rows = [row for row in findings["by_duplicates"] if row["prompt_tokens"] == longest_prompt(findings)]
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
                seconds_of(findings, row["prompt_tokens"]),
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
    charts = [
        by_prompt(
            findings,
            f"{decoding.capitalize()}, nearer than the threshold to another recording",
            {
                kind: [
                    (row["prompt_tokens"], row["another_recording"])
                    for row in found
                    if (row["set"], row["decoding"]) == (kind, decoding)
                ]
                for kind in SET_NAMES
            },
            reference=(0.01, "real music"),
        )
        for decoding in ("greedy", "sampled")
    ]
    return {
        "search": sentences.search_sentence(findings),
        "search_figure": Markup("".join(charts)),
        "search_table": _table(
            "Continuations nearer than the threshold to a recording of the training store",
            ["Decoding, prompt", "Music", "Some recording", "Another than its own"],
            [
                [
                    *_row_head(findings, row),
                    _estimate(row["any_recording"]),
                    _estimate(row["another_recording"]),
                ]
                for row in sorted(found, key=_row_order)
            ],
            groups=True,
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
        f"prompt {seconds_of(findings, pair['prompt_tokens'])}, {pair['decoding']}",
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
