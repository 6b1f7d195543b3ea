"""The audit's page: tables and players; prose and looks stand in `report.html`, charts in `figures.py`."""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template

from musiclm.audio import Audio
from musiclm.audit import figures, sentences
from musiclm.audit.figures import NARROW, interval, of, percent, share
from musiclm.audit.schema import (
    AudioMeans,
    CanaryRates,
    FoundRates,
    MatchRates,
    Pair,
    Report,
    Search,
    StratumRates,
    as_json,
)
from musiclm.audit.sentences import MEASURES, SET_NAMES, longest_prompt, prompts, seconds_of
from musiclm.metrics.statistics import Estimate

TEMPLATE = Path(__file__).with_name("report.html")
MP3_RATES = (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)  # Hz, MPEG-1, 2 and 2.5
SHOWN_GROUPS = 20  # of identical recordings; report.json has all


class Markup(str):
    """Text that is HTML already; everything else is escaped on its way into the page."""


def render_html(report: Report, clips: Sequence[tuple[Audio, Audio] | None] = ()) -> str:
    """The whole page."""
    present = {
        "search": report.search is not None,
        "audio": report.audio is not None,
        "rendered": report.rendered is not None,
        "canaries": report.canaries is not None,
        "by_duplicates": bool(report.by_duplicates),
        "entropy": bool(report.entropy),
        "closest": bool(report.closest),
        "power": bool(report.power.replaced),
    }
    fields = _plain_values(report) | _sentences(report) | _tables_and_figures(report)
    if report.search is not None:
        fields |= _search(report, report.search)
    if report.audio is not None:
        fields |= _audio(report.audio)
    if report.canaries is not None:
        fields |= _canaries(report.canaries)
    fields["closest"] = _closest(report, clips)
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


def _plain_values(report: Report) -> dict[str, str]:
    """Single values as `SECTION_KEY`, as people write them."""
    return {
        f"{section}_{key}": value
        if isinstance(value, str)
        else f"{value:,}"
        if isinstance(value, int)
        else f"{value:.3g}"
        for section in ("made", "bundle", "store", "protocol", "calibration", "audio")
        for key, value in as_json(getattr(report, section) or {}).items()
        if isinstance(value, str | int | float)
    }


def _sentences(report: Report) -> dict[str, str]:
    calibration, protocol, edges = report.calibration, report.protocol, report.costs.edges
    inside = bool(edges) and edges[0] <= calibration.paper_tau <= edges[-1]
    minutes, seconds = divmod(round(report.made.seconds), 60)
    return {
        "finding": sentences.finding_sentence(report),
        "near_copies": sentences.near_copies_sentence(report),
        "comparison": sentences.comparison_sentence(report),
        "sampled": sentences.sampled_sentence(report),
        "planned": sentences.planned_sentence(report),
        "rendered": sentences.rendered_sentence(report),
        "weighting": sentences.weighting_sentence(report),
        "continuation_seconds": seconds_of(report, protocol.continuation_tokens),
        "strip_seconds": str(protocol.continuation_tokens / protocol.frame_rate),
        "prompts": ", ".join(str(tokens) for tokens in prompts(report)),
        "longest_prompt": seconds_of(report, longest_prompt(report)),
        "worst": sentences.worst_sentence(report),
        "duplicates": sentences.duplicates_sentence(report),
        "target": f"{percent(calibration.target)}{NARROW}%",
        "fitted_pairs": f"{calibration.fitted.pairs:,}",
        "fitted_false_positives": f"{calibration.fitted.false_positives:,}",
        "verified": sentences.verified_sentence(report),
        "verdict_css": "" if calibration.holds else " short",
        "paper_tau_note": "The dotted line shows it." if inside else "It lies outside the charts.",
        "entropy": sentences.entropy_sentence(report),
        "power": sentences.power_sentence(report),
        "duration": f"{minutes} min {seconds} s",
        "not_measured": _not_measured(report),
    }


def _tables_and_figures(report: Report) -> dict[str, str]:
    calibration, costs = report.calibration, report.costs
    counts = costs.by_set()
    edges, tau = costs.edges, calibration.tau
    return {
        "rates_figure": Markup(_rates_chart(report, "exact") + _rates_chart(report, "approximate")),
        "rates_table": _rates_table(report),
        "duplicates_figure": Markup(_duplicates_chart(report)),
        "duplicates_table": _duplicates_table(report),
        "identical": _identical(report),
        "costs_figure": Markup(
            figures.densities(edges, counts, tau, calibration.paper_tau)
            + figures.cumulatives(edges, counts, tau, calibration.target)
        ),
        "entropy_figure": Markup(figures.scatter(report.entropy, tau, report.protocol.low_entropy_bits)),
        "power_figure": Markup(_power_charts(report)),
    }


def _rates_chart(report: Report, measure: str) -> str:
    rows = [row for row in report.rates if row.decoding == "greedy"]
    return by_prompt(
        report,
        f"{measure.capitalize()} matches",
        {
            kind: [(row.prompt_tokens, row.measure(measure)) for row in rows if row.set == kind]
            for kind in SET_NAMES
        },
    )


def by_prompt(
    report: Report,
    title: str,
    series: Mapping[str, Sequence[tuple[int, Estimate]]],
    *,
    reference: tuple[float, str] | None = None,
) -> str:
    """A chart of rates over the prompt length: series of (prompt tokens, estimate) by their css class."""
    names = [(tokens, f"{tokens}\n{seconds_of(report, tokens)}") for tokens in prompts(report)]
    return figures.intervals(
        title, series, names, "prompt length T, in tokens and seconds", reference=reference
    )


def _rates_table(report: Report) -> Markup:
    low_entropy = f"Approximate, without matches below {report.protocol.low_entropy_bits:g} bits"
    return _table(
        "All rates with their 95 % intervals, and the counts behind them",
        ["Decoding, prompt", "Music", "Exact", "At least 80 % of tokens equal", "Approximate", low_entropy],
        [
            [*_row_head(report, row), *(_estimate(row.measure(measure)) for measure in MEASURES)]
            for row in sorted(report.rates, key=_row_order)
        ],
        groups=True,
    )


def _row_order(row: MatchRates | FoundRates) -> tuple[str, int, bool]:
    return row.decoding, row.prompt_tokens, row.set != "training"


def _row_head(report: Report, row: MatchRates | FoundRates) -> list[str]:
    """How a table of every set, decoding and prompt calls a row."""
    return [f"{row.decoding}, {seconds_of(report, row.prompt_tokens)}", SET_NAMES[row.set]]


def _duplicates_chart(report: Report) -> str:
    rows = [row for row in report.by_duplicates if row.prompt_tokens == longest_prompt(report)]
    return _by_place(rows, [row.stratum for row in rows], "occurrences in the training store")


def _by_place(rows: Sequence[StratumRates | CanaryRates], names: Sequence[object], label: str) -> str:
    """A chart of exact and approximate matches over places that have names and no distances."""
    series = {
        "exact": [(float(at), row.exact) for at, row in enumerate(rows)],
        "approximate": [(float(at), row.approximate) for at, row in enumerate(rows)],
    }
    places = [(float(at), str(name)) for at, name in enumerate(names)]
    return figures.intervals("Share of examples", series, places, label)


def _duplicates_table(report: Report) -> Markup:
    strata = {stratum.name: stratum for stratum in report.duplicates.strata}
    return _table(
        "Match rates by number of occurrences, greedy decoding",
        ["Occurrences", "Stretches in the store", "Prompt", "Exact", "Approximate"],
        [
            [
                row.stratum,
                f"{strata[row.stratum].windows:,}" if row.stratum in strata else "not counted",
                seconds_of(report, row.prompt_tokens),
                _estimate(row.exact),
                _estimate(row.approximate),
            ]
            for row in report.by_duplicates
        ],
        groups=True,
    )


def _identical(report: Report) -> Markup:
    groups = report.duplicates.identical_recordings
    if not groups:
        return Markup("")
    items = "".join(f"<li>{escape(', '.join(group))}</li>" for group in groups[:SHOWN_GROUPS])
    more = len(groups) - SHOWN_GROUPS
    rest = f"<li>and {more:,} more, in report.json</li>" if more > 0 else ""
    return Markup(f"<details><summary>Identical recordings</summary><ul>{items}{rest}</ul></details>")


def _power_charts(report: Report) -> str:
    power, tau = report.power, report.calibration.tau
    replaced, level = power.replaced, (tau, f"τ = {tau:.3g}")
    seen = {"near": power.near, "far": power.far}
    costs = {"near": power.near_cost, "far": power.far_cost}
    return figures.curves(
        "Share of planted copies below τ", replaced, seen, percentages=True
    ) + figures.curves("Their median transport cost", replaced, costs, percentages=False, level=level)


def _search(report: Report, search: Search) -> dict[str, str]:
    found = search.found
    charts = [
        by_prompt(
            report,
            f"{decoding.capitalize()}, nearer than the threshold to another recording",
            {
                kind: [
                    (row.prompt_tokens, row.another_recording)
                    for row in found
                    if (row.set, row.decoding) == (kind, decoding)
                ]
                for kind in SET_NAMES
            },
            reference=(0.01, "real music"),
        )
        for decoding in ("greedy", "sampled")
    ]
    return {
        "search": sentences.search_sentence(report),
        "search_figure": Markup("".join(charts)),
        "search_table": _table(
            "Continuations nearer than the threshold to a recording of the training store",
            ["Decoding, prompt", "Music", "Some recording", "Another than its own"],
            [
                [
                    *_row_head(report, row),
                    _estimate(row.any_recording),
                    _estimate(row.another_recording),
                ]
                for row in sorted(found, key=_row_order)
            ],
            groups=True,
        ),
    }


def _audio(audio: AudioMeans) -> dict[str, str]:
    rows = [
        ["closest", _measured(audio.mulan_cosine), _measured(audio.mel_distance)],
        ["unrelated", _measured(audio.unrelated_mulan_cosine), _measured(audio.unrelated_mel_distance)],
    ]
    return {"audio_table": _table("Means over pairs", ["Pairs", "MuLan cosine", "Mel distance"], rows)}


def _canaries(canaries: Sequence[CanaryRates]) -> dict[str, str]:
    repeats = [row.repeats for row in canaries]
    rows = [
        [str(row.repeats), str(row.recordings), _estimate(row.exact), _estimate(row.approximate)]
        for row in canaries
    ]
    return {
        "canaries_figure": Markup(_by_place(canaries, repeats, "times repeated in training")),
        "canaries_table": _table(
            "Match rates of canaries", ["Repeats", "Recordings", "Exact", "Approximate"], rows
        ),
    }


def _closest(report: Report, clips: Sequence[tuple[Audio, Audio] | None]) -> Markup:
    pairs = report.closest
    cards = [
        _card(report, rank, pair, clip)
        for rank, (pair, clip) in enumerate(zip(pairs, clips or [None] * len(pairs), strict=True), start=1)
    ]
    return Markup("\n".join(cards))


def _card(report: Report, rank: int, pair: Pair, clip: tuple[Audio, Audio] | None) -> str:
    minutes, seconds = divmod(pair.start, 60)
    equal = sum(a == b for a, b in zip(pair.generated, pair.target, strict=True))
    details = [
        f"prompt {seconds_of(report, pair.prompt_tokens)}, {pair.decoding}",
        f"cost {pair.cost:.3g}",
        f"{equal} of {len(pair.target)} tokens equal",
        f"entropy {pair.entropy:.1f} bits",
        f"MuLan cosine {_measured(pair.mulan_cosine)}",
        f"mel distance {_measured(pair.mel_distance)}",
    ]
    players = "" if clip is None else _players(clip)
    return (
        f"<article><h3>{rank}. {escape(pair.id)}, from {minutes:.0f}:{seconds:04.1f}</h3>"
        f'<p class="meta">{escape(" · ".join(details))}</p>'
        f'<div class="strips">{figures.strips(pair.generated, pair.target)}</div>{players}</article>'
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


def _not_measured(report: Report) -> Markup:
    parts = {
        "the whole store": report.search,
        "the closest pairs as audio": report.audio,
        "the acoustic decoder": report.rendered,
        "canaries": report.canaries,
    }
    absent = [name for name, part in parts.items() if part is None]
    return Markup(f"<li>Not measured in this run: {', '.join(absent)}.</li>" if absent else "")


def _measured(value: float | None) -> str:
    return "not measured" if value is None else f"{value:.2f}"


def _estimate(estimate: Estimate) -> Markup:
    if not estimate.examples:
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
