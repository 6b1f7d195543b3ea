"""The audit's report: `report.json` for programs, `report.html` for people, two files for a model card.

    findings, clips -> a folder with report.json, report.html, summary.md and matches.svg

The page stands alone: it asks for nothing from outside, and the audio of the closest pairs is inside
(`page.py`); what the numbers say stands in `sentences.py`, what a model card takes of it in `card.py`.

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
                   verified {pairs, false_positives, rate, upper}, holds (upper < target)
    rates          [{set, decoding, prompt_tokens, exact, agreement, approximate, approximate_high_entropy}],
                   four estimates: all tokens equal; at least 80 % equal; cost below tau; the same without
                   matches below low_entropy_bits
    by_duplicates  [{stratum, prompt_tokens, exact, approximate}], training, greedy
    costs          edges [K + 1], negatives [K], held-out [K], training [K]: counts by transport cost, greedy
    entropy        [{entropy (bits), cost, prompt_tokens, matched}], training, greedy, up to 2,000
    power          replaced [...], near [...] and far [...] (share of planted copies below tau),
                   near_cost [...] and far_cost [...] (median)
    search         null | windows, null {from, windows, quantiles}, threshold,
                   found [{set, decoding, prompt_tokens, any_recording, another_recording}], two estimates:
                   nearer than the threshold to some training recording; to another than its own
    audio          null | pairs, mulan_cosine, mel_distance, unrelated_mulan_cosine, unrelated_mel_distance
    closest        [{id, start, prompt_tokens, decoding, cost, agreement, entropy, generated [...],
                   target [...], mulan_cosine (null |), mel_distance (null |)}], lowest cost first
    canaries       null | [{repeats, recordings, exact, approximate}]
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from musiclm.audio import Audio
from musiclm.audit.card import render_chart, render_summary
from musiclm.audit.page import render_html
from musiclm.audit.sentences import Findings
from musiclm.files import write_whole

SCHEMA_VERSION = 1


def write_report(
    folder: Path, findings: dict[str, Any], clips: Sequence[tuple[Audio, Audio] | None] = ()
) -> None:
    """Write the four files, each renamed when whole; report.json last.

    All are made before the first is written: a folder with report.json holds a whole report.

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
        "matches.svg": render_chart(findings),
        "report.json": _render_json(findings),
    }
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_whole(folder / name, text.encode())


def _render_json(findings: Findings) -> str:
    """One line a key: it can be read and compared, and thousands of numbers do not take a line each."""
    lines = (
        f"{json.dumps(key)}: {json.dumps(value, allow_nan=False, ensure_ascii=False)}"
        for key, value in findings.items()
    )
    return "{\n" + ",\n".join(lines) + "\n}\n"
