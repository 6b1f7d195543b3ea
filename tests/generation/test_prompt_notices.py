"""What is said of prompts that the model does not understand: true alarms, no false ones, one line each."""

import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from musiclm import MusicLM
from musiclm.bundle import Bundle, load_component, merge, save_component
from musiclm.cli import main
from musiclm.corpus.attributes import draw_attributes
from musiclm.corpus.captions import describe_attributes
from musiclm.corpus.words import GENRE_WORDS
from musiclm.generation.prompt_notices import lines_about, warn_of
from musiclm.notices import PromptNotice, plain_notices
from musiclm.tokenizers.mulan import MuLan
from musiclm.tokenizers.reading import Reading, count_known, words_of
from tests.prompts_of_users import PLAIN, STRANGE
from tests.tiny_model import OTHER, PARTS, PROMPT

LONG = "a calm violin melody with soft piano chords " * 20


@pytest.fixture(scope="module")
def mulan() -> MuLan:
    part: MuLan = Bundle.find("default").load("joint_embedding")
    return part


def said_of(text: str, mulan: MuLan) -> list[str]:
    return lines_about(text, mulan.reading(text))


# When there is something to say


def test_captions_of_the_corpus_raise_no_alarm(mulan: MuLan) -> None:
    random = np.random.default_rng(0)
    drawn = (describe_attributes(draw_attributes(random), 4, seed=seed, count=5) for seed in range(200))
    captions = [caption for captions in drawn for caption in captions]
    assert len(captions) == 1000
    assert [caption for caption in captions if said_of(caption, mulan)] == []


def test_plain_english_raises_no_alarm_and_other_languages_emoji_and_typing_errors_do(mulan: MuLan) -> None:
    assert (len(set(PLAIN)), len(set(STRANGE))) == (50, 30)
    assert [text for text in PLAIN if said_of(text, mulan)] == []
    assert [text for text in STRANGE if not said_of(text, mulan)] == []


def test_the_words_not_known_are_named_and_those_known_are_not(mulan: MuLan) -> None:
    (line,) = said_of("Schneller Techno mit Schlagzeug!", mulan)
    assert "(it has never met schneller, mit, schlagzeug)" in line
    (line,) = said_of("?!", mulan)
    assert "there is no word in it" in line


def test_the_plural_of_a_known_word_is_known(mulan: MuLan) -> None:
    assert "guitars" not in mulan.words
    assert mulan.reading("guitars").unknown == ()
    assert mulan.reading("theremins").unknown == ("theremins",)


def test_words_that_describe_no_music_do_not_count() -> None:
    assert count_known(["the", "bagpipes", "of", "my", "uncle"], {"the", "of", "my"}) == (
        ("bagpipes", "uncle"),
        0.0,
    )
    assert count_known(["the"], {"the"}) == ((), 1.0)


def test_a_tower_without_a_list_of_words_says_of_none_that_it_is_unknown(mulan: MuLan) -> None:
    words, mulan.words = mulan.words, frozenset()
    try:
        assert [text for text in (*PLAIN, *STRANGE) if said_of(text, mulan)] == []
    finally:
        mulan.words = words


def test_a_list_of_words_has_the_most_frequent_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musiclm.tokenizers.reading.MOST_WORDS", 2)
    assert words_of(["a calm waltz", "a waltz"]) == {"a", "waltz"}


# Where a text is cut


@torch.inference_mode()
def test_a_text_is_said_to_be_cut_where_what_follows_changes_nothing(mulan: MuLan) -> None:
    reading = mulan.reading(LONG)
    assert reading.end is not None
    assert f"{reading.end} {reading.left_out}" == LONG.strip()
    cut, *before = reversed(reading.end.split())
    vector = mulan.embed_text([LONG])
    assert torch.equal(mulan.embed_text([f"{reading.end} {reading.left_out} and no drums"]), vector)
    assert not torch.equal(mulan.embed_text([" ".join([*reversed(before), "drums", LONG])]), vector)
    (line,) = said_of(LONG, mulan)
    assert f'{cut}", the {len(reading.left_out.split())} after them do not' in line
    assert said_of(reading.end, mulan) == []


@pytest.mark.parametrize("text", ["ж" * 500, "x" * 1999, "🎻" * 100 + " " + "ж" * 300, "drums " * 127])
def test_whatever_is_cut_is_told_in_one_short_line(text: str, mulan: MuLan) -> None:
    for line in said_of(text, mulan):
        assert "\n" not in line
        assert len(line) < 300


def test_a_text_that_just_fits_is_not_cut(mulan: MuLan) -> None:
    assert mulan.reading("drums " * 127).end is None
    assert mulan.reading("drums " * 128).end == " ".join(["drums"] * 127)


# Who is told, and how


@pytest.mark.parametrize(
    "call",
    [
        lambda model: model.generate("ein Walzer", seconds=0.1),
        lambda model: model.variations("ein Walzer", num=2, seconds=0.1),
        lambda model: list(model.stream("ein Walzer", seconds=0.1)),
        lambda model: model.story([(0, PROMPT), (1, "ein Walzer")], seconds=1.1),
    ],
)
def test_python_is_warned_at_the_line_that_asked(call: Callable[[MusicLM], object], model: MusicLM) -> None:
    with pytest.warns(PromptNotice, match="it has never met ein, walzer") as caught:
        call(model)
    assert len(caught) == 1
    assert issubclass(PromptNotice, UserWarning)
    assert caught[0].filename == __file__


def test_every_part_of_a_story_is_looked_at_once(mulan: MuLan) -> None:
    with pytest.warns(PromptNotice) as caught:
        warn_of(["ein Walzer", "a calm waltz", "ein Walzer", LONG], mulan)
    assert len(caught) == 2


@pytest.mark.parametrize("command", ["generate", "story"])
def test_the_command_line_shows_one_plain_line_and_makes_the_music(
    command: str, bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = str(tmp_path / "out.wav")
    words = ["eine ruhige Melodie"] if command == "generate" else ["--at", "0:00", "eine ruhige Melodie"]
    main([command, *words, "--bundle", str(bundle), "--seconds", "0.1", "--out", out])
    captured = capsys.readouterr()
    assert captured.out.split() == [out]

    assert [line for line in captured.err.splitlines() if "hardly a word" in line] == [
        f'musiclm {command}: the model knows hardly a word of "eine ruhige melodie" (it has never met eine, '
        "ruhige, melodie), so the music will hardly follow it: use words of the captions it was trained on"
    ]
    main(["generate", PROMPT, "--bundle", str(bundle), "--seconds", "0.1", "--out", out])
    assert "hardly" not in capsys.readouterr().err


def test_the_help_of_generate_says_which_kinds_of_words_count(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["generate", "--help"])
    said = " ".join(capsys.readouterr().out.split())
    assert [genre for genre in GENRE_WORDS if genre not in said] == []
    assert [kind for kind in ("instruments", "moods", "tempo", "drums", "keys") if kind not in said] == []
    assert '"no piano" asks for a piano' in said


def test_other_warnings_look_as_ever_and_the_same_line_comes_once(capsys: pytest.CaptureFixture[str]) -> None:
    @plain_notices("musiclm generate")
    def work() -> None:
        for category, text in ((PromptNotice, "strange words"), (DeprecationWarning, "old")):
            for _ in range(2):
                warnings.warn(text, category, stacklevel=1)

    with pytest.warns(DeprecationWarning, match="old"):
        work()
    assert capsys.readouterr().err == "musiclm generate: strange words\n"


# The list of words in bundles


def test_the_words_of_its_captions_travel_with_a_part(bundle: Path, tmp_path: Path) -> None:
    expected = {*PROMPT.split(), *OTHER.split(), *"abcdefghijklmnopqrstuvwxyz"}
    assert Bundle(bundle).load("joint_embedding").words == expected
    again = merge([Bundle(bundle)], tmp_path / "again")
    assert again.load("joint_embedding").words == expected
    assert again.fingerprint("joint_embedding") == Bundle(bundle).fingerprint("joint_embedding")
    with pytest.warns(PromptNotice, match="never met dubstep"):
        MusicLM.from_pretrained(again.path).generate("dubstep", seconds=0.1)


def test_the_list_of_words_changes_no_fingerprint(bundle: Path, tmp_path: Path) -> None:
    part = Bundle(bundle).load("joint_embedding")
    words = {"storage": "float32", **PARTS["joint_embedding"]}
    first = save_component(tmp_path / "first", "joint_embedding", part, **words)
    part.words = frozenset()
    second = save_component(tmp_path / "second", "joint_embedding", part, **words)
    assert first.fingerprint() == second.fingerprint()
    assert load_component(second.path).words == frozenset()
    assert [file.name for file in sorted(second.path.glob("*.txt"))] == []


def test_a_list_that_is_missing_or_elsewhere_is_one_line(bundle: Path, tmp_path: Path) -> None:
    copy = merge([Bundle(bundle)], tmp_path / "copy")
    (copy.path / "joint_embedding.words.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"expected a list of words at .*joint_embedding\.words\.txt"):
        copy.load("joint_embedding")
    file = copy.path / "model.yaml"
    file.write_text(file.read_text().replace("joint_embedding.words.txt", "../secret.txt"))
    with pytest.raises(ValueError, match="expected a whole entry of joint_embedding"):
        Bundle(copy.path)


def test_a_reading_without_anything_to_say_says_nothing() -> None:
    assert lines_about("whatever", Reading()) == []
