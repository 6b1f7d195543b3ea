"""Control: prompts that no template can make, known accuracies of known clips, a line for a mistake."""

import inspect
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from musiclm.cli import main
from musiclm.corpus import captions, songbook, theory, words
from musiclm.evaluate.control import Prompt, accuracies, chart, format_table, read_prompts
from musiclm.evaluate.heard_attributes import ATTRIBUTES, spelled_out
from musiclm.evaluate.listener import NOTHING, Heard


def heard(**different: Any) -> Heard:
    known: dict[str, Any] = {
        "tempo": 120.0, "key": "C major", "mode": "major", "lead": "flute", "genre": "folk", "drums": False,
        "pulse": 0.5,
    }  # fmt: skip
    return Heard(**known | different)


def certain(count: int = 10) -> dict[str, np.ndarray]:
    return {name: np.ones(count) for name in ATTRIBUTES}


def test_no_template_can_make_a_held_out_prompt() -> None:
    """Each has a word that stands nowhere in what captions are made of."""
    source = "".join(inspect.getsource(module) for module in (captions, words, songbook, theory))
    known = set(re.findall(r"[a-z']+", source.lower()))
    prompts = read_prompts()
    assert len({prompt.text for prompt in prompts}) == len(prompts) == 24
    for prompt in prompts:
        assert set(re.findall(r"[a-z']+", prompt.text.lower())) - known, prompt.text


def test_every_attribute_is_asked_for_with_more_than_one_answer() -> None:
    for attribute in ATTRIBUTES.values():
        asked = [prompt.asks[attribute.label] for prompt in read_prompts() if attribute.label in prompt.asks]
        assert len(asked) >= 7
        assert len(set(asked)) >= 2


def test_what_follows_from_a_label_is_spelled_out() -> None:
    labels = spelled_out({"tonic": 9, "mode": "minor", "tempo": 70.0})
    assert (labels["key"], labels["tempo_class"]) == ("A minor", "slow")
    assert spelled_out({"key": "D major"})["mode"] == "major"


def test_clips_that_are_what_was_asked_for_have_1_and_others_chance() -> None:
    prompts = [Prompt(str(n), {"lead": lead}) for n, lead in enumerate(("flute", "organ", "harp", "flute"))]
    own = [[heard(lead=prompt.asks["lead"])] * 3 for prompt in prompts]
    right = accuracies(prompts, own, certain())
    assert set(right) == {"lead"}
    assert (right["lead"].value, right["lead"].high, right["lead"].prompts) == (1.0, 1.0, 4)
    assert right["lead"].low < 0.6  # four prompts are few
    assert right["lead"].shuffled == pytest.approx(2 / 12)  # the two flutes have each other's wish
    moved = accuracies(prompts, [*own[1:], own[0]], certain())
    assert moved["lead"].value == pytest.approx(1 / 4)


def test_a_tempo_an_octave_off_is_counted_apart() -> None:
    prompts = [Prompt(str(n), spelled_out({"tempo": tempo})) for n, tempo in enumerate((75, 100, 150, 170))]
    clips = [[heard(tempo=tempo)] for tempo in (150.0, 102.0, 75.0, 130.0)]
    found = accuracies(prompts, clips, certain())
    assert found["tempo"].value == 1 / 4
    assert found["octave"].value == 3 / 4
    assert found["tempo_class"].value == 2 / 4


def test_silence_has_nothing_that_was_asked_for() -> None:
    asks = spelled_out({"drums": False, "tempo": 100, "key": "C major", "lead": "harp", "genre": "folk"})
    for name, found in accuracies([Prompt("a", asks)], [[NOTHING]], certain()).items():
        assert found.value == 0.0, name
        assert found.shuffled is None


def test_the_ceiling_stands_beside() -> None:
    ceiling = certain() | {"drums": np.array([1.0, 0.0, 1.0, 1.0])}
    found = accuracies([Prompt("a", {"drums": True})], [[heard(drums=True)]], ceiling)["drums"]
    assert found.ceiling == 0.75
    assert found.ceiling_low < 0.75 < found.ceiling_high
    table = format_table({"drums": found})
    assert "0.75" in table
    assert chart({"drums": found}).startswith("<svg")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("- [1, 2]", "expected entries with a text"),
        ("- {text: a, lead: kazoo}", "expected a lead of violin"),
        ("- {text: a, tempo: quick}", "expected a tempo in bpm"),
        ("- {text: a, mood: sad}", "expected labels among drums"),
        ("- {text: 'a", "expected a YAML list of prompts"),
    ],
)
def test_prompts_that_are_none_are_said_in_a_line(
    content: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "prompts.yaml"
    file.write_text(content)
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "control", "--prompts", str(file), "--out", str(tmp_path / "out")])
    assert stop.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert len(printed.splitlines()) == 1
