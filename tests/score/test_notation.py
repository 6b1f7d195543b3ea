"""Keys, meters and chords as musicians write them are read, and read back as they were written."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from musiclm.score.notation import (
    read_bars,
    read_chord,
    read_key,
    read_meter,
    write_bars,
    write_chord,
    write_key,
)
from musiclm.score.score import NO_CHORD, Chord, Key
from tests.score.drawn import CHORDS, KEYS, filled_bars


@given(KEYS)
def test_a_key_is_read_as_it_was_written(key: Key) -> None:
    assert read_key(write_key(key)) == key
    assert read_key(str(key)) == key  # as captions say it


@given(CHORDS, st.none() | KEYS)
def test_a_chord_is_read_as_it_was_written_in_any_key(chord: Chord, key: Key | None) -> None:
    assert read_chord(write_chord(chord, key)) == chord


@given(st.lists(filled_bars(16), min_size=1, max_size=9), st.none() | KEYS)
def test_bars_are_read_as_they_were_written(bars: list[tuple[Chord, ...]], key: Key | None) -> None:
    assert read_bars(write_bars(bars, key)) == tuple(bars)


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("F# minor", (6, "minor")), ("Bb", (10, "major")), ("a flat major", (8, "major")),
        ("Em", (4, "minor")),
        ("E-flat major", (3, "major")), ("C♯ min", (1, "minor")), ("b", (11, "major")),
        ("B♭m", (10, "minor")),
        ("Cb", (11, "major")), (" d minor ", (2, "minor")), ("bb minor", (10, "minor")), ("CM", (0, "major")),
    ],
)  # fmt: skip
def test_keys_that_people_type_are_read(text: str, key: tuple[int, str]) -> None:
    assert read_key(text) == Key(*key)


@pytest.mark.parametrize(("text", "beats"), [("3/4", 3), ("4", 4), ("12/8", 12), (" 2/2 ", 2), ("16/8", 16)])
def test_meters_that_people_type_are_read(text: str, beats: int) -> None:
    assert read_meter(text) == beats


def test_chords_stand_in_bars() -> None:
    a, f, c, g = (read_chord(symbol) for symbol in ("Am", "F", "C", "G"))
    assert read_bars("Am F C G") == ((a,), (f,), (c,), (g,))
    assert read_bars("| Am | F | C G | % |") == ((a,), (f,), (c, g), (c, g))
    assert read_bars("N | Am") == ((NO_CHORD,), (a,))
    assert write_bars(read_bars("Eb|Bb7"), read_key("Eb")) == "Eb | Bb7"


@pytest.mark.parametrize("text", ["", "H", "A minor third", "major", "#", "A##", "Am7", "?" * 1000])
def test_what_is_no_key_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a key such as [^\n]+$"):
        read_key(text)


@pytest.mark.parametrize("text", ["", "3/5", "1/4", "17/4", "-3/4", "4/4/4", "3.5", "waltz", "4/0", "٣/٤x"])
def test_what_is_no_meter_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected a meter such as [^\n]+$"):
        read_meter(text)


@pytest.mark.parametrize(
    "text", ["", "   ", "|", "| |", "Am || F", "%", "% | Am", "H", "am", "Am, F", "C/E\n"]
)
def test_what_are_no_chords_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^expected [^\n]+$"):
        read_bars(text)


@given(st.text(max_size=12))
def test_any_text_is_read_or_refused_in_one_line(text: str) -> None:
    for read in (read_key, read_meter, read_chord, read_bars):
        try:
            read(text)
        except ValueError as error:
            assert re.fullmatch(r"expected [^\n]+", str(error))  # noqa: PT017
