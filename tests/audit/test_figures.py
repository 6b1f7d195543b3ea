import re
from xml.etree import ElementTree

import pytest

from musiclm.audit.figures import curves, densities, intervals, percent, scatter, strips
from musiclm.metrics.statistics import Estimate
from musiclm.plots import HEIGHT, WIDTH
from tests.audit import findings
from tests.audit.findings import make_findings, read


def estimate(count: int, examples: int) -> Estimate:
    return Estimate(**findings.estimate(count, examples))


@pytest.mark.parametrize(
    ("rate", "said"),
    [
        (0, "0"),
        (1e-18, "0"),
        (2e-5, "0.002"),
        (0.0015, "0.15"),
        (0.5, "50.0"),
        (1, "100"),
        (1 - 1e-15, "100"),
    ],
)
def test_percentages_keep_two_digits_and_invent_none(rate: float, said: str) -> None:
    assert percent(rate) == said


def test_whiskers_span_the_interval_and_a_zero_is_hollow() -> None:
    chart = intervals(
        "Exact",
        {"training": [(0, estimate(0, 100)), (250, estimate(50, 100))]},
        [(0, "0"), (250, "250")],
        "T",
    )
    spans = [(float(low), float(high)) for low, high in re.findall(r'whisker" d="M\S+ (\S+)V(\S+?)m', chart)]
    assert len(spans) == 2
    assert all(low > high for low, high in spans)  # pixels count downward
    assert chart.count("hollow") == 1


def test_every_mark_stays_inside_the_chart() -> None:
    chart = ElementTree.fromstring(
        intervals("All", {"held-out": [(0, estimate(3, 3)), (1, estimate(0, 1))]}, [(0, "a"), (1, "b")], "T")
    )
    for mark in [*chart.iter("circle"), *chart.iter("rect")]:
        x, y = (float(mark.get(key) or mark.get(f"c{key}") or "nan") for key in "xy")
        assert 0 <= x <= WIDTH
        assert 0 <= y <= HEIGHT


def test_a_threshold_outside_the_costs_is_not_drawn() -> None:
    costs = read(make_findings()).costs
    edges, counts = costs.edges, {"negatives": costs.negatives}
    assert "paper" in densities(edges, counts, 3.0, 0.85)
    assert "paper" not in densities(edges, counts, 3.0, 99.0)


def test_charts_say_in_words_what_they_show() -> None:
    for chart, said in (
        (scatter(read(make_findings()).entropy, 3.21, 2.0), "2,000 continuations"),
        (curves("Seen", [0.0, 0.5], {"near": [1.0, 0.2]}, percentages=True), "near: from 1 to 0.2"),
        (strips([1, 2, 3], [1, 5, 3]), "2 of 3 equal"),
    ):
        root = ElementTree.fromstring(chart)
        assert root.get("role") == "img"
        assert said in (root.get("aria-label") or "")


def test_names_in_charts_are_escaped() -> None:
    chart = intervals("<b>", {"training": [(0, estimate(1, 9))]}, [(0, "<i>&")], "<u>")
    assert ElementTree.fromstring(chart) is not None
    assert not re.search(r"<[biu]>", chart)
