import pytest

from musiclm.corpus.songbook import SONGBOOK, Tune, parse_songbook
from musiclm.corpus.theory import chord_tones

TINY = """
# a comment
Tiny; G major; 3/4
melody g1 b.5 d'.5 bb1 | c2~ c1
chords G               | C . G7

"""


def names(tune: Tune, count: int) -> list[str]:
    letters = ("C", "C#", "D", "D#", "E", "F", "F#", "G", "G#", "A", "A#", "B")
    return [letters[note.pitch % 12] for note in tune.phrases[0].notes[:count]]


def test_the_notation_reads_pitch_length_ties_and_chords() -> None:
    tune = parse_songbook(TINY)["Tiny"]
    assert (tune.tonic, tune.mode, tune.beats_per_bar, tune.bars) == (7, "major", 3, 2)
    notes = tune.phrases[0].notes
    assert [note.pitch for note in notes] == [67, 71, 74, 70, 60]
    assert [note.start for note in notes] == [0.0, 1.0, 1.5, 2.0, 3.0]
    assert notes[-1].duration == 3.0
    chords = [(chord.start, chord.root, chord.quality) for chord in tune.phrases[0].chords]
    assert chords == [(0.0, 7, "major"), (3.0, 0, "major"), (5.0, 7, "dominant7")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Tiny in G\nmelody g3\nchords G", "expected a heading like"),
        ("T; G major; 3/4\nmelody g3", "expected pairs of a 'melody' and a 'chords' line"),
        ("T; G major; 3/4\nmelody g2\nchords G", "T, line 1, bar 1: expected 3 beats, got 2"),
        ("T; G major; 3/4\nmelody h3\nchords G", "expected a note such as .* got 'h3'"),
        ("T; G major; 3/4\nmelody g3 | g3\nchords G", "2 bars of melody but 1 of chords"),
        ("T; G major; 3/4\nmelody g3\nchords Gx", "unknown ending 'x'"),
        ("T; G major; 3/4\nmelody g3\nchords H", "expected a chord name"),
        ("T; G major; 3/4\nmelody g3\nchords .", "the first bar needs a chord"),
        ("T; G major; 3/4\nmelody g3~ | a3\nchords G | G", "cannot continue a tied note"),
        ("T; G major; 3/4\nmelody g3~\nchords G", "a tie cannot lead out of a phrase"),
        ("T; G major; 3/4\nmelody g3\nchords G\n\n" * 2, "stands in it twice"),
    ],
)
def test_a_mistake_is_told_with_its_place(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        parse_songbook(text)
    assert "\n" not in str(refusal.value)


def test_the_songbook_has_tunes_of_every_kind() -> None:
    assert len(SONGBOOK) >= 24
    kinds = {(tune.mode, tune.beats_per_bar) for tune in SONGBOOK.values()}
    assert kinds == {("major", 3), ("major", 4), ("minor", 3), ("minor", 4)}


@pytest.mark.parametrize("title", sorted(SONGBOOK))
def test_every_tune_fills_its_bars_and_fits_its_chords(title: str) -> None:
    tune = SONGBOOK[title]
    fitting = total = 0.0
    for phrase in tune.phrases:
        beats = phrase.bars * tune.beats_per_bar
        assert phrase.chords[0].start == 0.0
        ends = 0.0
        for note in phrase.notes:
            assert note.start >= ends - 1e-6  # rests may part notes, but none overlap
            ends = note.start + note.duration
            chord = [chord for chord in phrase.chords if chord.start <= note.start + 1e-6][-1]
            total += note.duration
            fitting += note.duration * (note.pitch % 12 in chord_tones(chord.root, chord.quality))
        assert ends <= beats + 1e-6
    assert fitting >= 0.7 * total
    assert tune.highest - tune.lowest <= 24


@pytest.mark.parametrize("title", sorted(SONGBOOK))
def test_every_tune_keeps_to_its_key(title: str) -> None:
    tune = SONGBOOK[title]
    scale = {(tune.tonic + step) % 12 for step in (0, 2, 4, 5, 7, 9, 11)}
    if tune.mode == "minor":  # natural, harmonic and dorian degrees
        scale = {(tune.tonic + step) % 12 for step in (0, 2, 3, 5, 7, 8, 9, 10, 11)}
    notes = [note for phrase in tune.phrases for note in phrase.notes]
    inside = sum(note.duration for note in notes if note.pitch % 12 in scale)
    assert inside >= 0.8 * sum(note.duration for note in notes)


def test_well_known_openings_are_right() -> None:
    assert names(SONGBOOK["Twinkle Twinkle Little Star"], 7) == ["C", "C", "G", "G", "A", "A", "G"]
    assert names(SONGBOOK["Ode to Joy"], 8) == ["F#", "F#", "G", "A", "A", "G", "F#", "E"]
    assert names(SONGBOOK["Für Elise"], 9) == ["E", "D#", "E", "D#", "E", "B", "D", "C", "A"]
    assert names(SONGBOOK["Greensleeves"], 7) == ["A", "C", "D", "E", "F#", "E", "D"]
    assert names(SONGBOOK["Korobeiniki"], 8) == ["E", "B", "C", "D", "C", "B", "A", "A"]


def test_last_chords_lead_home() -> None:
    for tune in SONGBOOK.values():
        last = tune.phrases[-1].chords[-1]
        assert (last.root - tune.tonic) % 12 in (0, 7), tune.title
