"""What of an audit goes onto a model card: a summary in Markdown, and a chart."""

from collections.abc import Iterable

from musiclm.audit.figures import NARROW, interval, share, standalone
from musiclm.audit.page import by_prompt
from musiclm.audit.schema import Report
from musiclm.audit.sentences import (
    SET_NAMES,
    comparison_sentence,
    duplicates_sentence,
    finding_sentence,
    greedy,
    near_copies_sentence,
    planned_sentence,
    prompts,
    rendered_sentence,
    sampled_sentence,
    search_sentence,
    seconds_of,
    verified_sentence,
)


def render_summary(report: Report) -> str:
    """A section for a model card, as Markdown."""
    rows = [
        f"| {seconds_of(report, tokens)} | " + " | ".join(_summary_cells(report, tokens)) + " |"
        for tokens in prompts(report)
    ]
    lines = [
        "## Memorization",
        "",
        f"{finding_sentence(report)} {near_copies_sentence(report)} {comparison_sentence(report)}",
        "",
        "| prompt | exact, training | exact, held out | approximate, training | approximate, held out |",
        "|---|---|---|---|---|",
        *rows,
        "",
        f"- Greedy decoding, 95{NARROW}% intervals. {verified_sentence(report)}",
        f"- {sampled_sentence(report)}",
        *([f"- {planned_sentence(report)}"] if planned_sentence(report) else []),
        *([f"- {rendered_sentence(report)}"] if rendered_sentence(report) else []),
        f"- {duplicates_sentence(report)}",
        f"- {search_sentence(report)}",
        "- That the model was trained on these recordings is taken on trust; that their tokens are of its "
        f"own tokenizers was checked. Audited on {report.made.date}, bundle "
        f"`{report.bundle.fingerprint}`.",
    ]
    return "\n".join(lines) + "\n"


def _summary_cells(report: Report, tokens: int) -> Iterable[str]:
    for measure in ("exact", "approximate"):
        for kind in SET_NAMES:
            estimate = greedy(report, kind, tokens, measure)
            yield f"{share(estimate)} ({interval(estimate)})" if estimate.examples else "not tested"


def render_chart(report: Report) -> str:
    """Approximate matches by prompt length, greedy and drawn, training and held out: an SVG file."""
    charts = [
        by_prompt(
            report,
            f"Approximate matches, {words}",
            {
                kind: [
                    (row.prompt_tokens, row.approximate)
                    for row in report.rates
                    if (row.set, row.decoding) == (kind, decoding)
                ]
                for kind in SET_NAMES
            },
        )
        for decoding, words in (
            ("greedy", "the most likely token at each step"),
            ("sampled", f"drawn at temperature {report.protocol.temperature:g}"),
        )
    ]
    return standalone(charts, legend=SET_NAMES)
