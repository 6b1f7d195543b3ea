"""The model card says what the hub asks and what was measured, and takes nothing that is of another model."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from musiclm.audit.schema import AuditedBundle, as_json
from musiclm.bundle import Bundle, merge
from musiclm.cli import main
from musiclm.evaluate.results import Table, write_results
from tests.audit.findings import make_findings, read
from tests.tiny_model import make_bundle

TABLE = Table("How it | sounds", ["measure", "ours"], [["pulse", "0.50 (0.40..0.60)"]], ["Of 9 <clips>."])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("card"))


def run(*words: object) -> None:
    main(["bundle", "card", *map(str, words)])


def written(file: Path) -> tuple[dict[str, Any], str]:
    """The front matter and what stands below it."""
    _, matter, body = file.read_text().split("---\n", 2)
    return yaml.safe_load(matter), body


def test_the_hub_finds_what_it_asks_for(bundle: Path, tmp_path: Path) -> None:
    run(bundle, "--license", "apache-2.0", "--datasets", "me/songs", "me/tunes", "--tags", "jazz", "music")
    matter, body = written(bundle / "README.md")
    assert matter == {
        "license": "apache-2.0",
        "library_name": "musiclm",
        "pipeline_tag": "text-to-audio",
        "tags": ["music", "audio-generation", "musiclm", "jazz"],
        "datasets": ["me/songs", "me/tunes"],
    }
    assert f"`{Bundle.find(str(bundle)).fingerprint()}`" in body
    assert "me/songs, me/tunes" in body
    assert "Nothing has been measured" in body
    assert Bundle.find(str(bundle)).components  # the card beside them does no harm


def test_results_stand_as_they_were_written(bundle: Path, tmp_path: Path) -> None:
    own = {"name": "default", "fingerprint": Bundle.find(str(bundle)).fingerprint()}
    content = {"figures": [float("nan")], "bundle": own}
    file = write_results(tmp_path / "sound.json", "evaluate sound", content, TABLE)
    run(bundle, "--results", file, "--name", "a-model", "--out", tmp_path / "card.md")
    matter, body = written(tmp_path / "card.md")
    assert matter["license"] == "unknown"
    assert "datasets" not in matter
    assert "# a-model" in body
    assert "### How it \\| sounds" in body
    assert "| pulse | 0.50 (0.40..0.60) |" in body
    assert "Of 9 &lt;clips>. `musiclm evaluate sound`" in body


def audit_of(fingerprint: str, file: Path) -> Path:
    report = replace(read(make_findings()), bundle=AuditedBundle("model", fingerprint, "0123"))
    file.write_text(json.dumps(as_json(report)))
    return file


def test_the_audit_is_summed_up(bundle: Path, tmp_path: Path) -> None:
    own = Bundle.find(str(bundle)).fingerprint()
    run(bundle, "--audit", audit_of(own, tmp_path / "report.json"), "--out", tmp_path / "card.md")
    _, body = written(tmp_path / "card.md")
    assert "## Memorization" in body
    report = read(make_findings())
    row = next(each for each in report.rates if each.set == "training" and each.decoding == "greedy")
    seconds = f"{row.prompt_tokens / report.protocol.frame_rate:g} s"
    assert f"| greedy | {seconds} | {100 * row.exact.rate:.2f} %" in body


def test_an_audit_of_another_bundle_is_refused(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        run(bundle, "--audit", audit_of("ffff", tmp_path / "report.json"), "--out", tmp_path / "card.md")
    assert stop.value.code == 2
    assert "expected the audit of this bundle" in capsys.readouterr().err
    assert not (tmp_path / "card.md").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (None, "found none"),
        ("{", "it holds something else"),
        ({"format": 2}, "expected results of format 1"),
        ({"format": 1}, "expected a table"),
        *(
            ({"format": 1, "bundle": other, "table": {"title": "x", "head": [], "rows": []}}, "those of ffff")
            for other in ("ffff", {"name": "default", "fingerprint": "ffff"})
        ),
        (
            {"format": 1, "table": {"title": "x", "head": ["a"], "rows": [["1", "2"]]}},
            "rows as long as the head",
        ),
    ],
)
def test_a_file_that_is_no_result_is_refused(
    words: Any, said: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "results.json"
    if words is not None:
        file.write_text(words if isinstance(words, str) else json.dumps(words))
    for flag in ("--results", "--audit"):
        with pytest.raises(SystemExit) as stop:
            run(bundle, flag, file, "--out", tmp_path / "card.md")
        assert stop.value.code == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1
        assert flag == "--audit" or said in line


def test_a_bundle_is_the_same_with_a_card(bundle: Path, tmp_path: Path) -> None:
    before = Bundle.find(str(bundle)).fingerprint()
    run(bundle)
    assert Bundle.find(str(bundle)).fingerprint() == before
    assert merge([Bundle.find(str(bundle))], tmp_path / "packed").fingerprint() == before
