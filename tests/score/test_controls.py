"""What prompts say plainly is read, and nothing else; what musicians type is checked."""

from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

import musiclm.evaluate
from musiclm.corpus.captions import describe
from musiclm.corpus.composer import compose
from musiclm.score.controls import PACES, Controls, controls_in
from musiclm.score.notation import read_bars, read_key
from musiclm.score.score import Key

A_MINOR, A_MAJOR, C_MAJOR, D_MINOR = Key(9, "minor"), Key(9, "major"), Key(0, "major"), Key(2, "minor")
PROMPTS = Path(musiclm.evaluate.__file__).parent / "held_out_prompts.yaml"

SAID = [
    # Tempo
    ("techno at 120 BPM", {"bpm": 120.0}),
    ("at 96 beats per minute", {"bpm": 96.0}),
    ("72.5 bpm", {"bpm": 72.5}),
    ("a 140-bpm track", {"bpm": 140.0}),
    ("tempo: 128", {"bpm": 128.0}),
    ("a tempo of 90", {"bpm": 90.0}),
    ("BPM 100, dub", {"bpm": 100.0}),
    ("at a tempo of 104 bpm", {"bpm": 104.0}),
    ("in 4/4 at 104 bpm", {"bpm": 104.0, "meter": 4}),
    ("over 9000 bpm", {}),
    ("1120 bpm", {}),
    ("12 bpm", {}),
    ("two tempos: 90 bpm then 140 bpm", {}),
    ("90-100 bpm", {}),
    ("between 90 and 100 bpm", {}),
    ("not 120 bpm", {}),
    ("in the nineties, 50 people, 120 guitars", {}),
    ("play at a tempo of 90 % of the speed", {}),
    # Pace
    ("slow, sad piano", {"pace": "slow"}),
    ("a slow piece at 120 bpm", {"bpm": 120.0}),
    ("up tempo pop", {"pace": "fast"}),
    ("mid tempo rock", {"pace": "moderate"}),
    ("played without hurry", {"pace": "slow"}),
    ("not too fast", {}),
    ("not at all slow", {}),
    ("not a very fast tune", {}),
    ("not sad but fast", {"pace": "fast"}),
    ("not fast but slow", {"pace": "slow"}),
    ("don't make it slow", {}),
    ("no slow parts", {}),
    ("nothing too quick", {}),
    ("neither slow nor fast", {}),
    ("from slow to fast", {}),
    ("an upbeat breakfast show", {}),
    ("no drums slow violin", {"drums": False, "pace": "slow"}),
    # Meter
    ("a waltz", {"meter": 3}),
    ("3/4", {"meter": 3}),
    ("in three-four time", {"meter": 3}),
    ("a march in 2/4", {"meter": 2}),
    ("7/8 prog", {"meter": 7}),
    ("common time", {"meter": 4}),
    ("24/7 energy", {}),
    ("not a waltz", {}),
    ("not in 3/4", {}),
    ("one two three four", {}),
    ("a three-quarter violin", {}),
    ("sung through 3/4 of the song", {}),
    ("recorded on 3/4/2020", {}),
    ("3/4, then 4/4", {}),
    ("99/8", {}),
    # Key and mode
    ("in A minor", {"key": A_MINOR}),
    ("in a minor", {"key": A_MINOR}),
    ("in a minor, slow", {"key": A_MINOR, "pace": "slow"}),
    ("violin, a minor, techno", {"key": A_MINOR}),
    ("A major, choir", {"key": A_MAJOR}),
    ("the key of a major with harps", {"key": A_MAJOR}),
    ("A minor tune", {"mode": "minor"}),
    ("a minor key", {"mode": "minor"}),
    ("in a minor key", {"mode": "minor"}),
    ("a minor-key ballad", {"mode": "minor"}),
    ("a major hit", {}),
    ("A major hit", {}),
    ("a piano tune, a minor hit", {}),
    ("life in a major city", {}),
    ("A sad song. A minor classic", {}),
    ("C sharp minor", {"key": Key(1, "minor")}),
    ("C# minor", {"key": Key(1, "minor")}),
    ("E-flat major", {"key": Key(3, "major")}),
    ("B♭ minor", {"key": Key(10, "minor")}),
    ("a flat major", {"key": Key(8, "major")}),
    ("B flat", {}),
    ("D minor", {"key": D_MINOR}),
    ("d min", {"key": D_MINOR}),
    ("the C major scale", {"key": C_MAJOR}),
    ("C major chords", {"mode": "major"}),
    ("a C major third", {}),
    ("Am", {}),
    ("I Am a rock", {}),
    ("in Am", {"key": A_MINOR}),
    ("in F#m", {"key": Key(6, "minor")}),
    ("not in D minor", {}),
    ("from C major to D minor", {}),
    ("from minor to major", {}),
    ("both major and minor", {}),
    ("fast, minor, strobes everywhere", {"pace": "fast", "mode": "minor"}),
    # Drums
    ("without drums", {"drums": False}),
    ("drumless", {"drums": False}),
    ("percussion-free", {"drums": False}),
    ("no beat", {"drums": False}),
    ("nobody hits a drum", {"drums": False}),
    ("nobody drumming", {"drums": False}),
    ("not a single drum", {"drums": False}),
    ("leave out the drums", {"drums": False}),
    ("no percussion, but a steady beat", {"drums": False}),
    ("drum and bass", {"drums": True}),
    ("no bass, but drums", {"drums": True}),
    ("not just drums", {"drums": True}),
    ("not too many drums", {"drums": True}),
    ("a humdrum beat", {}),
    ("upbeat", {}),
    ("", {}),
]


@pytest.mark.parametrize(("text", "values"), SAID)
def test_what_is_said_plainly_is_read_and_nothing_else(text: str, values: dict[str, object]) -> None:
    assert controls_in(text) == Controls(**values)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=80), st.text(alphabet="0123456789/ bpmAa#minorno.,-", max_size=60)))
def test_any_text_is_read(text: str) -> None:
    controls_in(text)


def test_captions_of_the_corpus_are_read_as_their_labels_say() -> None:
    named = read = 0
    for seed in range(25):
        piece = compose(seed)
        labels = piece.attributes
        key = Key(labels.tonic, labels.mode)
        for caption in describe(piece):
            found = controls_in(caption)
            assert found.bpm in (None, round(labels.tempo)), caption
            assert found.meter in (None, piece.beats_per_bar), caption
            assert found.key in (None, key), caption
            assert found.mode in (None, key.mode), caption
            assert found.drums in (None, labels.drums), caption
            if found.pace is not None:
                slowest, fastest = PACES[found.pace]
                assert slowest <= labels.tempo <= fastest, caption
            words = caption.lower()
            named += (" bpm" in words) + ("drum" in words) + (str(key).lower() in words)
            read += (found.bpm is not None) + (found.drums is not None) + (found.key is not None)
    assert read >= 0.97 * named > 0  # "a minor slow rock" is no key for sure


def test_prompts_of_the_evaluation_are_read_as_they_ask() -> None:
    for entry in yaml.safe_load(PROMPTS.read_text(encoding="utf-8")):
        found = controls_in(entry["text"])
        key = read_key(entry["key"]) if "key" in entry else None
        assert found.bpm in (None, entry.get("tempo")), entry
        assert found.pace in (None, entry.get("tempo_class")), entry
        assert found.drums in (None, entry.get("drums")), entry
        assert found.key in (None, key), entry
        assert found.mode in (None, entry.get("mode"), key and key.mode), entry


def test_a_value_says_more_than_the_word_for_it() -> None:
    words = controls_in("slow waltz in a minor key")
    said = Controls(bpm=150.0, key=C_MAJOR).over(words)
    assert said == Controls(bpm=150.0, meter=3, key=C_MAJOR)
    assert Controls().over(words) == words
    assert not Controls().any
    assert Controls(drums=False).any


def test_what_a_user_types_is_read() -> None:
    controls = Controls.of(bpm=96, meter="6/8", key="f# minor", chords="Am | F G", drums=False)
    assert controls == Controls(96, 6, Key(6, "minor"), read_bars("Am | F G"), False)


@pytest.mark.parametrize(
    "values",
    [
        {"bpm": 10_000.0}, {"bpm": float("nan")}, {"bpm": 0.0}, {"meter": "99/4"}, {"meter": "1/4"},
        {"meter": "4/5"},
        {"key": "H minor"}, {"key": ""}, {"chords": "Q"}, {"chords": ""},
        {"meter": "3/4", "chords": "C F G C |"},
    ],
)  # fmt: skip
def test_values_that_no_music_has_are_refused_in_one_line(values: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"^expected [^\n]+$"):
        Controls.of(**values)  # type: ignore[arg-type]
