"""What of an audit goes onto a model card: a summary in Markdown, and a chart."""

from collections.abc import Iterable

from musiclm.audit.figures import NARROW, interval, share, standalone
from musiclm.audit.page import by_prompt
from musiclm.audit.sentences import (
    SET_NAMES,
    Findings,
    comparison_sentence,
    duplicates_sentence,
    finding_sentence,
    greedy,
    near_copies_sentence,
    prompts,
    sampled_sentence,
    search_sentence,
    seconds_of,
    verified_sentence,
)


def render_summary(findings: Findings) -> str:
    """A section for a model card, as Markdown."""
    rows = [
        f"| {seconds_of(findings, tokens)} | " + " | ".join(_summary_cells(findings, tokens)) + " |"
        for tokens in prompts(findings)
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
        f"- {sampled_sentence(findings)}",
        f"- {duplicates_sentence(findings)}",
        f"- {search_sentence(findings)}",
        "- That the model was trained on these recordings is taken on trust; that their tokens are of its "
        f"own tokenizers was checked. Audited on {findings['made']['date']}, bundle "
        f"`{findings['bundle']['fingerprint']}`.",
    ]
    return "\n".join(lines) + "\n"


def _summary_cells(findings: Findings, tokens: int) -> Iterable[str]:
    for measure in ("exact", "approximate"):
        for kind in SET_NAMES:
            estimate = greedy(findings, kind, tokens, measure)
            yield f"{share(estimate)} ({interval(estimate)})" if estimate["examples"] else "not tested"


def render_chart(findings: Findings) -> str:
    """Approximate matches by prompt length, greedy and drawn, training and held out: an SVG file."""
    charts = [
        by_prompt(
            findings,
            f"Approximate matches, {words}",
            {
                kind: [
                    (row["prompt_tokens"], row["approximate"])
                    for row in findings["rates"]
                    if (row["set"], row["decoding"]) == (kind, decoding)
                ]
                for kind in SET_NAMES
            },
        )
        for decoding, words in (
            ("greedy", "the most likely token at each step"),
            ("sampled", f"drawn at temperature {findings['protocol']['temperature']:g}"),
        )
    ]
    return standalone(charts, legend=SET_NAMES)
