"""Charts of the audit's report as inline SVG: numbers in, markup out, nothing to install.

Every chart is a `Panel` (`musiclm/plots.py`). Colours are CSS classes (`s-training`, `s-held-out`, …) that
the page defines twice, for light and for dark; shapes differ too, so that no chart is read by colour alone.
"""

import math
from collections.abc import Mapping, Sequence
from html import escape

from musiclm.audit.schema import EntropyPoint
from musiclm.metrics.statistics import Estimate
from musiclm.plots import HEIGHT, WIDTH, Panel, Points, ticks

GOLDEN_ANGLE = 137.508  # degrees: neighbouring token ids get hues far apart
NARROW = "\u202f"  # the narrow no-break space between a number and its unit


def percent(rate: float) -> str:
    """A rate as a percentage without its sign, to two significant digits or more."""
    value = 100 * rate
    if value < 1e-6 or value > 100 - 1e-6:  # what rounding leaves of an interval's end at 0 or 1
        return f"{value:.0f}"
    if value >= 10:
        return f"{value:.1f}"
    if value >= 0.1:
        return f"{value:.2f}"
    return f"{value:.{1 - math.floor(math.log10(value))}f}".rstrip("0")


def share(estimate: Estimate) -> str:
    """`0.15 %`."""
    return f"{percent(estimate.rate)}{NARROW}%"


def interval(estimate: Estimate) -> str:
    """`0.05–0.44 %`."""
    return f"{percent(estimate.low)}–{percent(estimate.high)}{NARROW}%"


def of(estimate: Estimate) -> str:
    """`3 of 2,000`."""
    return f"{estimate.count:,} of {estimate.examples:,}"


def intervals(
    title: str,
    series: Mapping[str, Sequence[tuple[float, Estimate]]],
    names: Sequence[tuple[float, str]],
    x_label: str,
    *,
    reference: tuple[float, str] | None = None,
) -> str:
    """Rates with their 95 % intervals as whiskers, for several series at the same places.

    The axis is linear and begins at 0, because a logarithmic one has no place for a rate of 0; where nothing
    was found, the mark is hollow.

    Args:
        series: name to (place, estimate); an estimate from no examples is left out.
        names: the places' labels.
        reference: a rate to compare with, and its name.
    """
    series = {name: [p for p in points if p[1].examples] for name, points in series.items()}
    places = [place for place, _ in names] or [0]
    pad = 0.06 * (max(places) - min(places) or 1)
    highs = [estimate.high for points in series.values() for _, estimate in points]
    top = min(1.0, 1.08 * max([*highs, reference[0] if reference else 0], default=0)) or 0.01

    panel = Panel(title, (min(places) - pad, max(places) + pad), (0, top))
    panel.y_axis([(tick, _percent_tick(tick)) for tick in ticks(top)])
    panel.x_axis(names, x_label)
    if reference:
        panel.level(*reference)
    said = []
    for index, (name, points) in enumerate(series.items()):
        shift = 7 * (index - (len(series) - 1) / 2)  # px: whiskers of two series stand side by side
        panel.parts.append(f'<g class="s-{escape(name)}" transform="translate({shift:g} 0)">')
        if points:
            panel.line([(place, estimate.rate) for place, estimate in points], "line thin")
        for place, estimate in points:
            panel.parts.append(_whisker(panel, place, estimate, name, square=index % 2 == 1))
        panel.parts.append("</g>")
        said.append(f"{name}: {', '.join(share(estimate) for _, estimate in points) or 'none tested'}")
    at = ", ".join(name.replace("\n", " = ") for _, name in names)
    return panel.svg(f"{title}, by {x_label} ({at}). {'; '.join(said)}.")


def _whisker(panel: Panel, place: float, estimate: Estimate, name: str, *, square: bool) -> str:
    x, y = panel.x(place), panel.y(estimate.rate)
    low, high = panel.y(estimate.low), panel.y(estimate.high)
    css = "mark" if estimate.count else "mark hollow"
    shape = (
        f'<rect class="{css}" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'
        if square
        else f'<circle class="{css}" cx="{x:.1f}" cy="{y:.1f}" r="4.5"/>'
    )
    words = f"{name}: {share(estimate)} ({interval(estimate)}), {of(estimate)}"
    return (
        f"<g><title>{escape(words)}</title>"
        f'<path class="whisker" d="M{x:.1f} {low:.1f}V{high:.1f}m-3 0h6"/>{shape}</g>'
    )


def densities(
    edges: Sequence[float], counts: Mapping[str, Sequence[int]], tau: float, paper_tau: float
) -> str:
    """How transport cost is distributed in each set: the share of its pairs in each bin."""
    shares = {name: [count / sum(row) for count in row] for name, row in counts.items() if sum(row)}
    top = 1.08 * max((max(row) for row in shares.values()), default=1.0)
    panel = Panel("Share of pairs at each cost", (edges[0], edges[-1]), (0, top))
    panel.y_axis([(tick, _percent_tick(tick)) for tick in ticks(top)])
    panel.x_axis(_number_ticks(edges[0], edges[-1]), "transport cost")
    for name, row in shares.items():
        steps = [(edge, value) for i, value in enumerate(row) for edge, value in _step(edges, i, value)]
        outline = [(edges[0], 0.0), *steps, (edges[-1], 0.0)]
        panel.line(outline, f"area s-{escape(name)}")
        panel.line(outline, f"line s-{escape(name)}")
    _thresholds(panel, edges, tau, paper_tau)
    return panel.svg(f"Distribution of transport cost for {', '.join(shares)}, with the threshold τ.")


def cumulatives(
    edges: Sequence[float], counts: Mapping[str, Sequence[int]], tau: float, target: float
) -> str:
    """The share of each set's pairs at or below each cost, on a logarithmic axis.

    Where the negatives' curve crosses τ stands the false-positive rate. A curve begins at its first pair: the
    axis has no zero to show before it.
    """
    totals = {name: sum(row) for name, row in counts.items() if sum(row)}
    low = min([target, *(1 / total for total in totals.values())])
    decade = math.floor(math.log10(low) + 1e-9)
    panel = Panel("Share of pairs at or below each cost", (edges[0], edges[-1]), (10.0**decade, 1), log=True)
    panel.y_axis([(10.0**power, f"{10.0 ** (power + 2):g}{NARROW}%") for power in range(decade, 1)])
    panel.x_axis(_number_ticks(edges[0], edges[-1]), "transport cost")
    panel.level(target, "target")
    for name, total in totals.items():
        points, passed = [], 0
        for upper, count in zip(edges[1:], counts[name], strict=True):
            passed += count
            if passed:
                points.append((upper, passed / total))
        panel.line(points, f"line s-{escape(name)}")
    if edges[0] <= tau <= edges[-1]:
        panel.threshold(tau, f"τ = {tau:.3g}")
    return panel.svg(f"Cumulative transport cost for {', '.join(totals)}, with τ and the target rate.")


def _step(edges: Sequence[float], index: int, value: float) -> Points:
    return [(edges[index], value), (edges[index + 1], value)]


def _thresholds(panel: Panel, edges: Sequence[float], tau: float, paper_tau: float) -> None:
    if edges[0] <= tau <= edges[-1]:
        panel.threshold(tau, f"τ = {tau:.3g}")
    if edges[0] <= paper_tau <= edges[-1]:
        panel.threshold(paper_tau, f"paper’s {paper_tau:g}", row=1, css="threshold paper")


def _percent_tick(value: float) -> str:
    return f"{100 * value:g}{NARROW}%"


def _number_ticks(low: float, high: float) -> list[tuple[float, str]]:
    return [(tick, f"{tick:g}") for tick in ticks(high) if tick >= low]


def scatter(points: Sequence[EntropyPoint], tau: float, low_entropy_bits: float) -> str:
    """Entropy against transport cost, one dot a continuation; matches are larger and of another colour."""
    right = 1.03 * max([tau, *(point.cost for point in points)])
    top = 1.06 * max([low_entropy_bits, *(point.entropy for point in points)])
    panel = Panel("Entropy (bits)", (0, right), (0, top))
    panel.y_axis([(tick, f"{tick:g}") for tick in ticks(top)])
    panel.x_axis(_number_ticks(0, right), "transport cost")
    for matched, css in ((False, "dots s-training"), (True, "dots s-matched")):
        panel.dots([(p.cost, p.entropy) for p in points if p.matched is matched], css)
    panel.threshold(tau, f"τ = {tau:.3g}")
    panel.level(low_entropy_bits, f"{low_entropy_bits:g} bits")
    matches = sum(point.matched for point in points)
    return panel.svg(
        f"Entropy against transport cost of {len(points):,} continuations, {matches:,} of them matches."
    )


def curves(
    title: str,
    places: Sequence[float],
    series: Mapping[str, Sequence[float]],
    *,
    percentages: bool,
    level: tuple[float, str] | None = None,
) -> str:
    """Lines over the share of replaced tokens: what the detector sees of planted copies."""
    top = max([level[0] if level else 0, *(value for row in series.values() for value in row)])
    top = 1.0 if percentages else 1.08 * top or 1.0
    right = max([*places, 0.01])
    panel = Panel(title, (0, right), (0, top))
    panel.y_axis([(tick, _percent_tick(tick) if percentages else f"{tick:g}") for tick in ticks(top)])
    panel.x_axis([(tick, _percent_tick(tick)) for tick in ticks(right)], "tokens replaced")
    if level:
        panel.level(*level)
    for index, (name, row) in enumerate(series.items()):
        points = list(zip(places, row, strict=True))
        panel.line(points, f"line s-{escape(name)}{' dashed' if index else ''}")
        panel.dots(points, f"dots large s-{escape(name)}")
    ends = "; ".join(f"{name}: from {row[0]:.3g} to {row[-1]:.3g}" for name, row in series.items() if row)
    return panel.svg(f"{title}, by share of tokens replaced. {ends}.")


# The page's colours, for a chart that leaves it (`report.html` has the same).
STANDALONE_STYLE = """
svg { --page: #fbfaf7; --ink: #1d1f23; --soft: #5b606a; --grid: #eceae4 }
svg { --training: #b4460b; --held-out: #1f5fbf }
@media (prefers-color-scheme: dark) {
svg { --page: #15171b; --ink: #e8e6e1; --soft: #a2a7b0; --grid: #2a2e35 }
svg { --training: #f2925a; --held-out: #7fb2f5 }
}
text { font: 12px system-ui, "Segoe UI", Roboto, Helvetica, Arial, sans-serif; fill: var(--soft) }
.title { font-size: 13px; font-weight: 600; fill: var(--ink) }
.axis { stroke: var(--soft); fill: none } .grid { stroke: var(--grid); fill: none }
.s-training { --c: var(--training) } .s-held-out { --c: var(--held-out) }
.line { stroke: var(--c); stroke-width: 1; opacity: 0.55; fill: none }
.whisker { stroke: var(--c); stroke-width: 1.5; fill: none }
.mark { fill: var(--c); stroke: var(--c); stroke-width: 1.5 } .hollow { fill: var(--page) }
"""


def standalone(charts: Sequence[str], *, legend: Mapping[str, str]) -> str:
    """Charts of `intervals` side by side with their legend, as a file of its own, for light and for dark."""
    margin, gap, head = 16, 28, 30
    width = 2 * margin + len(charts) * WIDTH + (len(charts) - 1) * gap
    height = margin + head + HEIGHT
    parts = [f'<rect width="{width}" height="{height}" fill="var(--page)"/>']
    for index, (css, name) in enumerate(legend.items()):
        x, y = margin + 6 + 110 * index, margin + 4
        mark = (
            f'<rect x="{x - 5}" y="{y - 5}" width="10" height="10"/>'
            if index % 2
            else (f'<circle cx="{x}" cy="{y}" r="5"/>')
        )
        parts.append(
            f'<g class="s-{css}" fill="var(--c)">{mark}</g><text x="{x + 12}" y="{y + 4}">{name}</text>'
        )
    for index, chart in enumerate(charts):
        place = f'x="{margin + index * (WIDTH + gap)}" y="{margin + head}" width="{WIDTH}" height="{HEIGHT}"'
        parts.append(chart.replace("<svg ", f"<svg {place} ", 1))
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}">'
        f"<style>{STANDALONE_STYLE}</style>{''.join(parts)}</svg>\n"
    )


def strips(generated: Sequence[int], target: Sequence[int]) -> str:
    """Two sequences as rows of coloured cells, with a mark between the rows wherever they agree."""
    cells: dict[int, list[str]] = {}
    for row, tokens in enumerate((generated, target)):
        for index, token in enumerate(tokens):
            cells.setdefault(token, []).append(f"M{index} {13 * row}h1v9h-1z")
    rows = "".join(
        f'<path fill="hsl({token * GOLDEN_ANGLE % 360:.0f} 55% 56%)" d="{"".join(path)}"/>'
        for token, path in cells.items()
    )
    equal = [index for index, (a, b) in enumerate(zip(generated, target, strict=True)) if a == b]
    marks = "".join(f"M{index} 9.7h1v2.6h-1z" for index in equal)
    return (
        f'<svg class="tokens" viewBox="0 0 {len(target)} 22" preserveAspectRatio="none" role="img" '
        f'aria-label="Tokens, generated above and original below: {len(equal)} of {len(target)} equal">'
        f'{rows}<path class="equal" d="{marks}"/></svg>'
    )
