"""Scores from files: lists of beats, and MIDI."""

from pathlib import Path

import pytest

from musiclm.score.reading import in_bars, is_score_file, read_score
from musiclm.score.score import Beat, Chord, Key, what_at


def test_a_list_of_beats_says_times_and_places(tmp_path: Path) -> None:
    file = tmp_path / "x.beats"
    file.write_text("# of a tracker\n0.5\t3\n1.0, 1\n1.5 2\n\n2.0 3\n2.5 1\n")
    score = read_score(file)
    assert score.beats == (
        Beat(0.5, 2, 3), Beat(1.0, 0, 3), Beat(1.5, 1, 3), Beat(2.0, 2, 3), Beat(2.5, 0, 3),
    )  # fmt: skip
    assert score.known == ("beats",)


def test_without_numbers_a_bar_has_four_beats(tmp_path: Path) -> None:
    file = tmp_path / "x.txt"
    file.write_text("1\n1.5\n2\n2.5\n3\n")
    assert [beat.place for beat in read_score(file).beats] == [0, 1, 2, 3, 0]


def test_bars_may_change_their_length() -> None:
    beats = in_bars([0, 1, 2, 3, 4, 5, 6], [True, False, False, True, False, True, False])
    assert [(beat.place, beat.meter) for beat in beats] == [
        (0, 3),
        (1, 3),
        (2, 3),
        (0, 2),
        (1, 2),
        (0, 2),
        (1, 2),
    ]


@pytest.mark.parametrize(
    "text", ["", "1", "a b", "2 1\n1 2", "1 1\n1.01 2", "0 1\n60 2", "1 99\n2 1", "nan 1\n2 2"]
)
def test_what_is_no_list_of_beats_is_said_in_one_line(text: str, tmp_path: Path) -> None:
    file = tmp_path / "x.beats"
    file.write_text(text)
    with pytest.raises(ValueError, match="expected") as caught:
        read_score(file)
    assert "\n" not in str(caught.value)


def test_midi_says_beats_key_chords_and_drums(tmp_path: Path) -> None:
    pretty_midi = pytest.importorskip("pretty_midi")
    midi = pretty_midi.PrettyMIDI(initial_tempo=120)
    midi.time_signature_changes.append(pretty_midi.TimeSignature(3, 4, 0))
    midi.key_signature_changes.append(pretty_midi.KeySignature(21, 0))  # A minor
    piano = pretty_midi.Instrument(0)
    for bar, tones in enumerate([(57, 60, 64), (55, 59, 62, 65), (48, 52, 55)]):
        piano.notes += [pretty_midi.Note(80, pitch, 1.5 * bar, 1.5 * bar + 1.4) for pitch in tones]
    drums = pretty_midi.Instrument(0, is_drum=True)
    drums.notes.append(pretty_midi.Note(100, 36, 0, 0.1))
    midi.instruments += [piano, drums]
    midi.write(str(tmp_path / "x.mid"))
    score = read_score(tmp_path / "x.mid")
    assert score.beats[:4] == (Beat(0.0, 0, 3), Beat(0.5, 1, 3), Beat(1.0, 2, 3), Beat(1.5, 0, 3))
    assert what_at(score.keys, 1.0) == Key(9, "minor")
    sounding = [what_at(score.chords, time) for time in (0.1, 1.6, 3.1)]
    assert sounding == [Chord(9, "minor"), Chord(7, "dominant7"), Chord(0, "major")]
    assert what_at(score.drums, 0.0) is True


def test_what_is_no_midi_is_said_in_one_line(tmp_path: Path) -> None:
    pytest.importorskip("pretty_midi")
    file = tmp_path / "x.mid"
    for content in (b"", b"MThd", b"no midi at all"):
        file.write_bytes(content)
        with pytest.raises(ValueError, match=r"MIDI file .*x\.mid"):
            read_score(file)
    with pytest.raises(FileNotFoundError, match="nothing at"):
        read_score(tmp_path / "none.mid")


def test_files_are_told_by_their_names() -> None:
    assert [is_score_file(Path(name)) for name in ("a.mid", "a.MIDI", "a.beats", "a.txt", "a.wav", "a")] == [
        True, True, True, True, False, False,
    ]  # fmt: skip
