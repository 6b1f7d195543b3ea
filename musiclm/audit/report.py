"""The audit's report: `report.json` for programs, `report.html` for people, two files for a model card.

    report, clips -> a folder with report.json, report.html, summary.md and matches.svg

The page stands alone: it asks for nothing from outside, and the audio of the closest pairs is inside
(`page.py`); what the numbers say stands in `sentences.py`, what a model card takes of it in `card.py`.

`report.json` is the report as `schema.py` defines it, schema 1.
"""

import json
from collections.abc import Sequence
from pathlib import Path

from musiclm.audio import Audio
from musiclm.audit.card import render_chart, render_summary
from musiclm.audit.page import render_html
from musiclm.audit.schema import Report, as_json
from musiclm.files import write_whole


def write_report(folder: Path, report: Report, clips: Sequence[tuple[Audio, Audio] | None] = ()) -> None:
    """Write the four files, each renamed when whole; report.json last.

    All are made before the first is written: a folder with report.json holds a whole report.

    Args:
        folder: where; made if need be.
        report: what the audit found.
        clips: (generated, original) for each of `report.closest`, None where there is no audio; or ().

    Raises:
        ValueError: the report holds a number that JSON does not know (NaN, infinity).
    """
    texts = {
        "report.html": render_html(report, clips),
        "summary.md": render_summary(report),
        "matches.svg": render_chart(report),
        "report.json": _render_json(report),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_whole(folder / name, text.encode())


def _render_json(report: Report) -> str:
    """One line a key: it can be read and compared, and thousands of numbers do not take a line each."""
    lines = (
        f"{json.dumps(key)}: {json.dumps(value, allow_nan=False, ensure_ascii=False)}"
        for key, value in as_json(report).items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"
