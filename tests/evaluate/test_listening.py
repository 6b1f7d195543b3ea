"""A listening test gives nothing away, and its results are read back to what the listeners preferred."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from musiclm.audio import Audio
from musiclm.cli import main
from musiclm.evaluate.listening import LOUDNESS, Trial, choose_trials, equally_loud, page
from musiclm.evaluate.listening_results import judge
from musiclm.metrics.drift import loudness
from tests.test_docs import OUTSIDE, Loads
from tests.tiny import SAMPLE_RATE, melody

SYSTEMS = ("large", "small", "tiny")
ITEMS = ("one", "two", "three", "four")


def run(*words: object) -> None:
    main(["evaluate", *map(str, words)])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three systems' folders, one of them softer, and the page of all their pairs."""
    root = tmp_path_factory.mktemp("listening")
    for place, system in enumerate(SYSTEMS):
        (root / system).mkdir()
        for seed, item in enumerate(ITEMS):
            audio = melody(1.0, seed=10 * place + seed)
            Audio(audio.waveform * (0.1 if place else 1.0), SAMPLE_RATE).save(root / system / f"{item}.wav")
        (root / "large" / "one.txt").write_text("a </script> of <b>drums</b>\nanother caption\n")
    melody(1.0, seed=5).save(root / "tiny" / "alone.wav")
    run("listening", *(root / system for system in SYSTEMS), "--out", root / "page", "--num", 0)
    return root


def key_of(root: Path) -> dict[str, Any]:
    key: dict[str, Any] = json.loads((root / "page.key.json").read_text())
    return key


def content_of(root: Path) -> dict[str, Any]:
    text = (root / "page" / "index.html").read_text()
    found = re.search(r'<script type="application/json" id="content">(.*?)</script>', text, re.DOTALL)
    assert found
    content: dict[str, Any] = json.loads(found[1])
    return content


def test_every_pair_of_systems_is_asked_about_every_item(root: Path) -> None:
    clips, trials = key_of(root)["clips"], content_of(root)["trials"]
    asked = {
        (clips[each["a"]]["item"], frozenset((clips[each["a"]]["system"], clips[each["b"]]["system"])))
        for each in trials
    }
    assert len(trials) == len(asked) == len(ITEMS) * 3
    assert all(clips[each["a"]]["item"] == clips[each["b"]]["item"] for each in trials)
    assert {path.name for path in (root / "page" / "clips").iterdir()} == set(clips)


def test_the_page_does_not_say_whose_a_clip_is(root: Path) -> None:
    text = (root / "page" / "index.html").read_text()
    assert not any(
        name in text for name in (*SYSTEMS, "three", "four") if name not in ("large", "small", "tiny")
    )
    said = json.dumps(content_of(root))
    assert not any(name in said for name in (*SYSTEMS, *ITEMS))
    sizes = {path.stat().st_size for path in (root / "page" / "clips").iterdir()}
    assert len(sizes) == 1  # the clips have one length, and so have their files
    assert not list((root / "page").rglob("*.key.json"))


def test_the_page_asks_for_nothing_from_elsewhere(root: Path) -> None:
    text = (root / "page" / "index.html").read_text()
    loads = Loads()
    loads.feed(text)
    assert loads.found
    assert not [address for each in loads.found for address in OUTSIDE.findall(each)]
    assert "default-src 'none'" in text


def test_a_caption_is_shown_as_it_is(root: Path) -> None:
    captions = {each["caption"] for each in content_of(root)["trials"]}
    assert captions == {"a </script> of <b>drums</b>", ""}


def test_the_page_can_be_used_without_a_mouse_and_without_eyes(root: Path) -> None:
    text = (root / "page" / "index.html").read_text()
    assert text.count('type="radio"') == 5
    for needed in ('lang="en"', "<fieldset", "<legend>", 'role="status"', 'aria-label="Clip A"', "keydown",
                   "prefers-color-scheme: dark"):  # fmt: skip
        assert needed in text


def test_every_clip_is_equally_loud(root: Path) -> None:
    for path in (root / "page" / "clips").iterdir():
        audio = Audio.load(path)
        assert loudness(audio.waveform[0], audio.sample_rate) == pytest.approx(LOUDNESS, abs=0.2)
    spiked = Audio(torch.zeros(1, SAMPLE_RATE), SAMPLE_RATE)
    spiked.waveform[0, 100] = 1.0
    assert equally_loud(spiked).waveform.abs().max() <= 0.98  # softer than the others rather than cut off


def test_sides_are_even_and_a_seed_gives_the_same_test() -> None:
    key = {f"item{n}": {"x": f"x{n}", "y": f"y{n}"} for n in range(20)}
    captions = dict.fromkeys(key, "")
    trials = choose_trials(key, captions, num=0, seed=1)
    assert trials == choose_trials(key, captions, num=0, seed=1)
    assert trials != choose_trials(key, captions, num=0, seed=2)
    left = [trial.a[0] for trial in trials]
    assert left.count("x") == 10
    assert left not in (["x", "y"] * 10, ["y", "x"] * 10, sorted(left))
    assert len(choose_trials(key, captions, num=7, seed=1)) == 7


def save_answers(root: Path, folder: Path, name: str, better: dict[str, int], **changes: Any) -> Path:
    """What the page saves of a listener who prefers systems by their worth."""
    key, content = key_of(root)["clips"], content_of(root)
    answers = []
    for each in content["trials"]:
        a, b = (better[key[each[side]]["system"]] for side in "ab")
        choice = max(-2, min(2, b - a))
        answers.append({"trial": each["trial"], "a": each["a"], "b": each["b"], "choice": choice})
    words = {"format": 1, "test": content["test"], "listener": name, "answers": answers, **changes}
    file = folder / f"{name}.json"
    file.write_text(json.dumps(words))
    return file


def test_results_say_what_listeners_prefer(
    root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    worth = {"large": 2, "small": 1, "tiny": 1}
    files = [save_answers(root, tmp_path, name, worth) for name in ("anna", "ben")]
    files.append(save_answers(root, tmp_path, "other", worth, test="0123"))
    files.append(save_answers(root, tmp_path, "later", worth, format=2))
    files.append(tmp_path / "torn.json")
    files[-1].write_text('{"format": 1, "ans')
    again = tmp_path / "again.json"
    shutil.copy(files[0], again)
    run("listening-results", *files, again, "--key", root / "page.key.json", "--out", tmp_path / "found.json")
    said = capsys.readouterr()
    found = json.loads((tmp_path / "found.json").read_text())
    assert found["wins"] == {"large": 16, "small": 0, "tiny": 0}
    assert found["listeners"] == 2
    pairs = {(each["first"], each["second"]): each for each in found["comparisons"]}
    large = pairs["large", "small"]
    assert (large["wins"], large["losses"], large["ties"], large["items"]) == (8, 0, 0, 4)
    assert large["p"] == pytest.approx(min(1.0, 3 * 0.125), rel=0.7)  # of four items of one sign, times three
    assert (pairs["small", "tiny"]["ties"], pairs["small", "tiny"]["p"]) == (8, 1.0)
    reasons = (
        "of another test",
        "expected answers of format 1, got 2",
        "got something else",
        "by the same listener",
    )
    assert all(reason in said.err for reason in reasons)
    assert "2 listeners, 4 left out" in said.err
    assert len(found["left_out"]) == 4


def test_the_side_of_a_clip_does_not_matter() -> None:
    clips = {name: {"system": name[0], "item": name[1]} for name in ("p1", "q1", "p2", "q2")}
    wins, pairs = judge([{("p1", "q1"): -2, ("q2", "p2"): 1}], clips, ["p", "q"])
    assert wins == {"p": 2, "q": 0}
    assert (pairs["p", "q"].wins, pairs["p", "q"].losses) == (2, 0)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["listening", "large"], "expected two folders of clips or more to compare, got 1"),
        (["listening", "large", "large"], "expected folders of different names"),
        (["listening", "large", "none"], "found nothing at"),
        (["listening", "large", "strangers"], "expected clips of the same name"),
        (["listening", "large", "small", "--num", "-1"], "expected num of 0 or more"),
        (["listening-results", "x.json", "--key", "none.json"], "expected the key of the listening test"),
        (["listening-results", "x.json", "--key", "x.json"], "expected the key of a listening test"),
        (["listening-results", "x.json", "--key", "page.key.json"], "none can be used"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], said: str, root: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(root)
    (root / "strangers").mkdir(exist_ok=True)
    melody(0.5, seed=0).save(root / "strangers" / "else.wav")
    (root / "x.json").write_text("[]")
    with pytest.raises(SystemExit) as stop:
        run(*words)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]


def test_a_page_of_no_caption_asks_all_the_same() -> None:
    text = page([Trial("001", "", "a.wav", "b.wav")], "0123", "Which is more musical & better?")
    assert "Which is more musical &amp; better?" in text
    assert "You will hear 1 pair of short clips" in text
