import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from musiclm.audio import Audio
from musiclm.audit.card import render_chart, render_summary
from musiclm.audit.figures import interval
from musiclm.audit.page import render_html
from musiclm.audit.report import write_report
from musiclm.audit.sentences import finding_sentence
from musiclm.metrics.statistics import Estimate
from tests.audit.findings import estimate, make_findings, read, without

FILES = {"report.json", "report.html", "summary.md", "matches.svg"}
VOID = {"meta", "link", "br", "path", "circle", "rect"}


class Balance(HTMLParser):
    """Fails where a tag is closed that was not the last one opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag, self.getpos()


def check_page(page: str) -> None:
    parser = Balance()
    parser.feed(page)
    assert parser.open == []
    assert "<!-- " not in page
    assert not re.search(r"\$\w|nan|None", without_audio(page).split("</style>")[1].split("<script>")[0])


def without_audio(page: str) -> str:
    return re.sub(r"data:audio/mpeg;base64,[^\"]+", "data:", page)


def tone(seconds: float = 1.0, rate: int = 24_000) -> Audio:
    return Audio(0.3 * torch.sin(torch.arange(round(seconds * rate))[None] * 2_764 / rate), rate)


def clips_for(findings: dict[str, Any]) -> list[tuple[Audio, Audio] | None]:
    return [(tone(), tone()), *[None] * (len(findings["closest"]) - 1)]


def test_the_json_is_the_findings(tmp_path: Path) -> None:
    findings = make_findings()
    write_report(tmp_path / "new" / "folder", read(findings))
    assert json.loads((tmp_path / "new" / "folder" / "report.json").read_text(encoding="utf-8")) == findings


def test_four_files_and_nothing_temporary_is_left(tmp_path: Path) -> None:
    write_report(tmp_path, read(make_findings()))
    assert {file.name for file in tmp_path.iterdir()} == FILES


def test_a_number_that_json_does_not_know_leaves_no_file(tmp_path: Path) -> None:
    findings = make_findings()
    findings["audio"]["mulan_cosine"] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_report(tmp_path / "report", read(findings))
    assert not (tmp_path / "report").exists()


def test_the_json_comes_last(tmp_path: Path) -> None:
    (tmp_path / "summary.md").mkdir()  # in its way
    with pytest.raises(OSError, match=r"summary\.md"):
        write_report(tmp_path, read(make_findings()))
    assert {file.name for file in tmp_path.iterdir()} == {"summary.md", "report.html"}


def test_the_page_is_whole_and_asks_for_nothing_from_outside() -> None:
    findings = make_findings()
    page = render_html(read(findings), clips_for(findings))
    check_page(page)
    assert "default-src 'none'" in page
    assert not re.search(r"https?:|//\w|@import|url\(", without_audio(page).split("<script>")[0])
    assert set(re.findall(r'(?:src|href)="(data:|#|[^"]*)', page)) == {"data:", "#"}


def test_links_within_the_page_lead_somewhere() -> None:
    page = render_html(read(make_findings()))
    assert set(re.findall(r'href="#(\w+)"', page)) == set(re.findall(r'<h2 id="(\w+)"', page))


def test_names_are_text_and_never_markup() -> None:
    bad = '<script>alert("x")</script>&$finding <!-- if search -->'
    findings = make_findings()
    findings["closest"][0]["id"] = bad
    findings["duplicates"]["identical_recordings"] = [[bad, "other"]]
    findings["duplicates"]["strata"][0]["name"] = findings["by_duplicates"][0]["stratum"] = bad
    for section, key in (("store", "path"), ("bundle", "path"), ("made", "machine")):
        findings[section][key] = bad
    page = render_html(read(findings))
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt;&amp;$finding &lt;!-- if search" in page


def test_every_rate_stands_with_its_interval() -> None:
    findings = make_findings()
    page = render_html(read(findings))
    table = page.split("All rates with")[2].split("</table>")[0]
    for row in findings["rates"]:
        for measure in ("exact", "agreement", "approximate", "approximate_high_entropy"):
            assert interval(Estimate(**row[measure])) in table
    assert table.count('class="rate"') == table.count("–") == 4 * len(findings["rates"])


def test_the_finding_is_one_sentence_of_the_numbers() -> None:
    said = finding_sentence(read(make_findings())).replace("\u202f", " ")
    assert said == (
        "Of 2,000 training examples, the model continued 3 (0.15 %, 95 % interval 0.051–0.44 %) token for "
        "token when shown 10 s of them; on music it never saw: 0 of 470 (0 %, 0–0.81 %)."
    )


@pytest.mark.parametrize(
    ("exact", "said"),
    [
        ((900, 2), "known by heart"),
        ((3, 0), "cannot tell memory from chance"),
        ((0, 0), "saw no memorization"),
    ],
)
def test_training_is_judged_against_held_out_music(exact: tuple[int, int], said: str) -> None:
    findings = make_findings()
    for row in findings["rates"]:
        row["exact"] = estimate(exact[row["set"] != "training"], row["exact"]["examples"])
    assert said in render_html(read(findings))
    assert said in render_summary(read(findings))


def test_what_is_known_by_heart_is_not_called_half_remembered() -> None:
    """Every exact match is an approximate one as well, and there are more of those."""
    findings = make_findings()
    for row in findings["rates"]:
        training, examples = row["set"] == "training", row["exact"]["examples"]
        row["exact"] = estimate(600 if training else 0, examples)
        row["approximate"] = estimate(700 if training else 0, examples)
    for text in (render_html(read(findings)), render_summary(read(findings))):
        assert "most clearly exact ones" in text
        assert "known by heart" in text
        assert "remembered in part" not in text


def test_a_control_that_matches_more_is_not_called_alike() -> None:
    findings = make_findings()
    for row in findings["rates"]:
        examples = row["exact"]["examples"]
        row["exact"] = estimate(3 if row["set"] == "training" else 0, examples)
        row["approximate"] = estimate(10 if row["set"] == "training" else 200, examples)
    assert "are there more matches on training music than on held-out music" in render_summary(read(findings))


def test_memory_that_only_drawing_shows_is_said_too() -> None:
    """The most likely continuation may miss what a draw now and then finds."""
    findings = make_findings()
    for row in findings["rates"]:
        if (row["set"], row["decoding"], row["prompt_tokens"]) == ("training", "sampled", 125):
            row["approximate"] = estimate(60, row["approximate"]["examples"])
    for text in (render_html(read(findings)), render_summary(read(findings))):
        text = text.replace("\u202f", " ")
        assert "In 1 of 20 comparisons" in text
        assert "approximate ones, sampled, shown 5 s: 3.00 % against" in text
        assert "remembered in part" in text
        assert "saw no memorization" not in text


def test_a_copied_plan_is_said_where_a_stage_follows_one() -> None:
    findings = make_findings()
    told = [row | {"decoding": "planned"} for row in findings["rates"] if row["decoding"] == "greedy"]
    report = read(make_findings(rates=findings["rates"] + told))
    for written in (render_html(report), render_summary(report)):
        assert "Told the beats, keys, chords and drums of the training music itself" in written
    plain = read(findings)
    for written in (render_html(plain), render_summary(plain)):
        assert "Told the beats" not in written


def test_the_chart_stands_alone() -> None:
    """Well-formed, with colours of its own, nothing from outside, and every estimate of both decodings."""
    chart = render_chart(read(make_findings()))
    root = ElementTree.fromstring(chart)
    assert root.tag.endswith("svg")
    assert "http" not in chart.replace("http://www.w3.org/2000/svg", "")
    for name in re.findall(r"var\((--[\w-]+)\)", chart):
        assert name == "--c" or f"{name}:" in chart, name
    whiskers = [part for part in root.iter() if part.get("class") == "whisker"]
    assert len(whiskers) == 2 * 2 * 5  # decodings, sets, prompts


def test_weights_are_explained_where_there_are_any() -> None:
    findings = make_findings()
    assert "weighted back" not in render_html(read(findings))
    findings["rates"][0]["approximate"]["rate"] *= 1.1
    assert "weighted back" in render_html(read(findings))


@pytest.mark.parametrize("holds", [True, False])
def test_the_page_says_whether_the_false_positive_rate_is_shown(holds: bool) -> None:
    findings = make_findings()
    findings["calibration"]["holds"] = holds
    for text in (render_html(read(findings)), render_summary(read(findings))):
        assert ("a false-positive rate below 0.01\u202f% is shown" in text) is holds
        assert ("a false-positive rate below 0.01\u202f% is not shown" in text) is not holds


@pytest.mark.parametrize("section", ["search", "audio", "canaries", "rendered"])
def test_what_was_not_measured_is_left_out(section: str) -> None:
    page = render_html(read(make_findings(**{section: None})))
    check_page(page)
    assert f'id="{section}"' not in page
    assert f'href="#{section}"' not in page
    assert "Not measured in this run: " in page
    assert "Not measured in this run" not in render_html(read(make_findings()))


@pytest.mark.parametrize(
    ("low", "said"), [(-0.02, "shows no memory of how its recordings sound"), (0.004, "is remembered")]
)
def test_a_decoder_that_knows_recordings_is_told_from_one_that_does_not(low: float, said: str) -> None:
    findings = make_findings()
    findings["rendered"]["low"] = low
    for text in (render_html(read(findings)), render_summary(read(findings))):
        assert said in text
        assert ("0.310 and 0.320" in text) is True


def test_pairs_without_audio_or_embeddings_say_so() -> None:
    findings = make_findings()
    findings["closest"][0] |= {"mulan_cosine": None, "mel_distance": None}
    page = render_html(read(findings))
    check_page(page)
    assert "MuLan cosine not measured · mel distance not measured" in page
    assert "<audio" not in page


@pytest.mark.parametrize("rate", [24_000, 96_000])
def test_the_closest_pairs_can_be_heard(rate: int) -> None:
    import soundfile

    findings = make_findings()
    clips = clips_for(findings)
    clips[0] = (tone(0.5, rate), Audio(tone(1.0, rate).waveform.expand(2, -1), rate))
    page = render_html(read(findings), clips)
    sounds = re.findall(r'<audio controls preload="none" src="data:audio/mpeg;base64,([^"]+)"', page)
    for sound, seconds in zip(sounds, (0.5, 1.0), strict=True):
        samples, kept = soundfile.read(io.BytesIO(base64.b64decode(sound)))
        assert len(samples) / kept == pytest.approx(
            seconds, abs=0.1
        )  # MP3 pads to whole frames of 24 … 48 ms
        assert abs(samples).max() == pytest.approx(0.3, abs=0.05)  # lossy


def test_nothing_to_compare_with_is_said_and_not_drawn() -> None:
    findings = without(make_findings(), "held-out")
    page, summary = render_html(read(findings)), render_summary(read(findings))
    check_page(page)
    for text in (page, summary):
        assert "there was no held-out music to compare with" in text
        assert "not tested" in text


def test_an_audit_of_nothing_is_still_a_report(tmp_path: Path) -> None:
    findings = without(without(make_findings(), "held-out"), "training")
    findings |= {
        "closest": [],
        "entropy": [],
        "by_duplicates": [],
        "search": None,
        "audio": None,
        "rendered": None,
        "canaries": None,
    }
    findings["power"] = {name: [] for name in findings["power"]}
    findings["duplicates"] |= {"strata": [], "identical_recordings": []}
    findings["costs"]["negatives"] = [0] * len(findings["costs"]["negatives"])
    write_report(tmp_path, read(findings))
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    check_page(page)
    assert "No training example was tested" in page
    assert 'id="closest"' not in page


def test_the_summary_fits_a_model_card() -> None:
    findings = make_findings()
    lines = render_summary(read(findings)).splitlines()
    assert len(lines) <= 20
    assert {line.count("|") for line in lines if line.startswith("|")} == {6}
    assert "11b5c0ffee" in lines[-1]
    assert "2026-11-21" in lines[-1]
