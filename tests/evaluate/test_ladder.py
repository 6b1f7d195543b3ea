"""The ladder: known figures of known sounds, all steps of a tiny model, a line for what cannot be used."""

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pyarrow
import pyarrow.parquet
import pytest
import torch

from musiclm import MusicLM
from musiclm.audio import Audio
from musiclm.cli import main
from musiclm.data.left_out import Report
from musiclm.evaluate.bars import BARS, Bar, Verdict, judge
from musiclm.evaluate.bars import format_table as bars_table
from musiclm.evaluate.labelled_clips import Clip, corpus_clips, folder_clips
from musiclm.evaluate.ladder import Ladder, climb
from musiclm.evaluate.ladder_steps import (
    CAPTION,
    CODEC,
    EMBEDDING,
    MELODY,
    ORIGINAL,
    TRUE_PHASES,
    TRUE_TOKENS,
)
from musiclm.evaluate.ladder_table import (
    Cell,
    Row,
    Sound,
    chart,
    cosines,
    format_lost,
    format_table,
    lost_from,
    row_of,
)
from musiclm.evaluate.listener import Listener
from tests.evaluate.test_control import heard
from tests.tiny import SAMPLE_RATE, folder_of_tones, melody, tone
from tests.tiny_model import PROMPT, make_bundle

pytestmark = pytest.mark.slow


def sound(lead: str, classes: list[int], **different: Any) -> Sound:
    chroma = torch.zeros(12, 20)
    chroma[classes] = 1.0
    return Sound(heard(lead=lead, **different), chroma, chroma)


def cells(**values: float) -> Row:
    return {name: Cell(value, value - 0.1, value + 0.1, 0.2) for name, value in values.items()}


def test_a_step_that_changes_nothing_has_what_its_labels_say() -> None:
    labels = [
        {"lead": "flute", "drums": False, "tempo": 120.0},
        {"lead": "harp", "drums": False, "tempo": 90.0},
    ]
    originals = [sound("flute", [0, 4, 7]), sound("harp", [1, 5, 8], tempo=180.0)]
    row = row_of(originals, originals, labels)
    assert set(row) == {"drums", "tempo", "lead", "chroma_low", "chroma_high", "pulse"}  # no key, no genre
    assert (row["lead"].value, row["lead"].other) == (1.0, 0.0)
    assert (row["drums"].value, row["drums"].other) == (1.0, 1.0)  # any clip would do
    assert row["tempo"].value == 0.5  # the other one is an octave off
    assert row["chroma_low"].value == pytest.approx(1.0)
    assert row["chroma_low"].other == pytest.approx(0.0)
    assert (row["pulse"].value, row["pulse"].other) == (0.5, None)
    swapped = row_of(originals[::-1], originals, labels)
    assert (swapped["lead"].value, swapped["lead"].other) == (0.0, 1.0)
    assert swapped["chroma_high"].value == pytest.approx(0.0)


def test_chroma_counts_where_the_original_sounds() -> None:
    guide, made = torch.zeros(12, 10), torch.zeros(12, 10)
    guide[0, :5], made[0] = 1.0, 1.0
    made[3, 5:] = 9.0  # where nothing is to be heard
    assert cosines([guide], [made])[0, 0] == pytest.approx(1.0)
    assert cosines([torch.zeros(12, 10)], [made])[0, 0] == 0.0


def test_a_column_is_lost_from_where_less_than_half_of_it_stays() -> None:
    rows = {
        ORIGINAL: cells(key=0.8, lead=0.7, drums=1.0),
        CODEC: cells(key=0.45, lead=0.6, drums=0.9),
        TRUE_TOKENS: cells(key=0.7, lead=0.3, drums=0.9),
        EMBEDDING: cells(key=0.25, lead=0.3, drums=0.9),
        MELODY: cells(key=0.8, lead=0.7, drums=0.2),  # what it is given anew was lost all the same
    }
    assert lost_from(rows) == {"key": EMBEDDING, "lead": TRUE_TOKENS, "drums": None}
    words = format_lost(rows)
    assert f"key         lost from this step on: {EMBEDDING}" in words
    assert "drums       kept to the end" in words
    assert len(format_table(rows).splitlines()) == 1 + 3 * len(rows)
    ElementTree.fromstring(chart(rows))


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    """Two to follow, and silence."""
    labels = {"tempo": 120.0, "drums": False, "tonic": 0, "mode": "major", "lead": "flute", "genre": "folk"}
    two = [Clip(str(seed), melody(5.0, seed=seed), labels, (PROMPT,)) for seed in range(2)]
    return [*two, Clip("silent", Audio(torch.zeros(1, 5 * SAMPLE_RATE), SAMPLE_RATE), labels, (PROMPT,))]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MusicLM:
    return MusicLM.from_pretrained(make_bundle(tmp_path_factory.mktemp("model"), melody=True), device="cpu")


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sound of every step is."""
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def measured(model: MusicLM, clips: list[Clip], kept: Path) -> Ladder:
    """What one process measures."""
    return climb(model, Listener.load(), clips, keep=kept)


def test_a_model_goes_through_all_its_steps(measured: Ladder, kept: Path) -> None:
    coarse = "codec, 2 of 3 levels"
    steps = [ORIGINAL, TRUE_PHASES, CODEC, coarse, TRUE_TOKENS, EMBEDDING, CAPTION, MELODY]
    assert list(measured.rows) == steps
    assert measured.counts == {step: 2 if step == MELODY else 3 for step in steps}  # silence has no melody
    assert measured.rows[ORIGINAL]["chroma_low"].value == pytest.approx(2 / 3, abs=1e-4)
    for row in measured.rows.values():
        for name, cell in row.items():
            assert 0 <= cell.low <= cell.value + 1e-9, name
            assert cell.value <= cell.high + 1e-9, name
    assert len(list(kept.glob("*.wav"))) == 3 * len(steps) - 1


@pytest.mark.usefixtures("warm_workers")
def test_several_processes_measure_the_same(measured: Ladder, model: MusicLM, clips: list[Clip]) -> None:
    together = climb(model, Listener.load(), clips, workers=2)
    assert together.counts == measured.counts
    for step, row in measured.rows.items():
        for name, cell in row.items():
            assert together.rows[step][name].value == pytest.approx(cell.value, abs=1e-3), (step, name)


def test_clips_of_the_corpus_are_held_out_and_the_same_for_the_same_seed() -> None:
    first, again = (list(corpus_clips("valid", 1, 6.0, seed=0)) for _ in range(2))
    assert [clip.name for clip in first] == ["s0-000001"]
    assert all(torch.equal(a.audio.waveform, b.audio.waveform) for a, b in zip(first, again, strict=True))
    assert all(clip.audio.seconds == 6.0 and len(clip.captions) == 4 for clip in first)
    assert first[0].labels["genre"] == "rock"


def test_what_cannot_be_used_of_a_folder_is_named_and_left_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_of_tones(tmp_path, 3, seconds=6.0)
    tone(2.0).save(tmp_path / "short.wav")
    Audio(torch.zeros(1, 6 * SAMPLE_RATE), SAMPLE_RATE).save(tmp_path / "silent.wav")
    (tmp_path / "broken.wav").write_bytes(b"no sound")
    report = Report()
    chosen = list(folder_clips(tmp_path, 60, 6.0, 0, report))
    assert len(chosen) == 3
    assert {entry.path.name for entry in report.left_out} == {"short.wav", "silent.wav", "broken.wav"}
    assert len(list(folder_clips(tmp_path, 2, 6.0, 0, Report()))) == 2


def test_labels_that_no_listener_knows_are_not_asked_for(tmp_path: Path) -> None:
    tone(6.0).save(tmp_path / "a.wav")
    row = {"id": "a", "path": "a.wav", "lead": "kazoo", "genre": "jazz", "tempo": 90.0, "drums": True}
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([row]), tmp_path / "corpus.parquet")
    report = Report()
    [clip] = folder_clips(tmp_path, 1, 6.0, 0, report)
    assert clip.labels == {"genre": "jazz", "tempo": 90.0, "drums": True}
    assert ["kazoo" in warning.reason for warning in report.warnings] == [True]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--clips", "1"], "expected 2 clips or more of 5 to 30 s, got 1 of 10 s"),
        (["--seconds", "2"], "expected 2 clips or more of 5 to 30 s, got 60 of 2 s"),
        (["--audio", "nowhere"], "nowhere"),
    ],
)
def test_what_cannot_be_asked_is_said_in_a_line(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = make_bundle(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "ladder", "--bundle", str(bundle), "--out", str(tmp_path / "out"), *words])
    assert stop.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.usefixtures("warm_workers")
def test_the_command_writes_its_figures_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a folder without labels and captions: what needs none is measured."""
    folder = tmp_path / "music"
    folder.mkdir()
    for seed in range(2):
        melody(5.0, seed=seed).save(folder / f"{seed}.wav")
    out = tmp_path / "out"
    bundle = str(make_bundle(tmp_path))
    main(
        [
            "evaluate",
            "ladder",
            "--bundle",
            bundle,
            "--audio",
            str(folder),
            "--seconds",
            "5",
            "--out",
            str(out),
        ]
    )
    printed = capsys.readouterr().out
    assert "2 clips of 5 s" in printed
    content = json.loads((out / "ladder.json").read_text())
    assert (content["format"], content["clips"], content["sample_rate"]) == (1, 2, SAMPLE_RATE)
    assert content["bundle"]["fingerprint"] == MusicLM.from_pretrained(bundle).fingerprint
    assert [set(step["columns"]) for step in content["steps"]] == [{"chroma_low", "chroma_high", "pulse"}] * 6
    ElementTree.parse(out / "ladder.svg")


def test_figures_are_held_against_bars() -> None:
    rows = {ORIGINAL: cells(pulse=0.6), EMBEDDING: cells(pulse=0.31, tempo=0.1), CAPTION: cells(drums=0.9)}
    verdicts = judge(rows, {})
    assert [(each.bar.step, each.bar.what, each.passed) for each in verdicts] == [
        (EMBEDDING, "pulse", True),  # half of the originals'
        (EMBEDDING, "tempo", False),
        (CAPTION, "drums", True),
    ]
    assert verdicts[0].least == pytest.approx(0.3)
    table = bars_table(verdicts)
    assert table.splitlines()[2].startswith("SHORT")
    assert table.endswith("1 of 3 fall short")
    reached = Verdict(Bar(CODEC, "key", 0.4, "why"), 0.4, 0.4, 0.3, 0.5)
    assert bars_table([reached]).endswith("all 1 are reached")


def test_every_bar_can_be_reached_and_says_why() -> None:
    assert len({(bar.step, bar.what) for bar in BARS}) == len(BARS)
    assert all(0 < bar.least < 1 and bar.why for bar in BARS)
