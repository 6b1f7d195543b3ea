from dataclasses import replace
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from musiclm.corpus.attributes import draw_attributes
from musiclm.corpus.composer import compose
from musiclm.corpus.genres import GENRES, MOODS
from musiclm.corpus.instruments import BASSES, CHORD_INSTRUMENTS, INSTRUMENTS, LEADS, PERCUSSION
from musiclm.corpus.patterns import ACCOMPANIMENT, BASS, DRUMS_OF
from musiclm.corpus.piece import Attributes, Piece, Track
from musiclm.corpus.songbook import SONGBOOK
from musiclm.corpus.theory import QUALITIES, chord_at, chord_tones
from musiclm.corpus.variations import rearrange

SEEDS = st.integers(min_value=0, max_value=2**31)
CALM = Attributes(
    genre="classical",
    mood="calm",
    tonic=0,
    mode="major",
    tempo=72.0,
    lead="violin",
    accompaniment=("piano",),
    bass="",
    drums=False,
    tune="",
)


@pytest.fixture(scope="module")
def pieces() -> list[Piece]:
    return [compose(seed) for seed in range(80)]


def track(piece: Piece, role: str) -> Track:
    return next(track for track in piece.tracks if track.role == role)


@settings(max_examples=15, deadline=None)
@given(SEEDS)
def test_the_same_seed_gives_the_same_piece(seed: int) -> None:
    assert compose(seed) == compose(seed)
    assert compose(seed) != compose(seed + 1)


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_every_note_is_playable_and_inside_the_piece(seed: int) -> None:
    piece = compose(seed)
    for part in piece.tracks:
        assert part.notes
        for note in part.notes:
            assert note.start >= 0
            assert note.duration > 0
            assert note.start + note.duration <= piece.beats + 1e-6
            assert 1 <= note.velocity <= 127
            if part.is_drum:
                assert note.pitch in PERCUSSION.values()
            else:
                instrument = INSTRUMENTS[part.instrument]
                assert instrument.lowest <= note.pitch <= instrument.highest
                assert part.program == instrument.program


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_a_piece_lasts_30_to_45_seconds_and_lets_its_last_notes_die_away(seed: int) -> None:
    piece = compose(seed)
    assert 30.0 <= piece.seconds <= 45.0
    last = max(note.start + note.duration for part in piece.tracks for note in part.notes if not part.is_drum)
    assert 0.3 <= piece.seconds_at(piece.beats - last) <= 1.5


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_tracks_are_those_the_labels_name(seed: int) -> None:
    piece = compose(seed)
    labels = piece.attributes
    roles = [part.role for part in piece.tracks]
    assert ("drums" in roles) == labels.drums
    assert ("bass" in roles) == bool(labels.bass)
    assert track(piece, "lead").instrument == labels.lead
    others = tuple(part.instrument for part in piece.tracks if part.role in ("chords", "pad", "counter"))
    assert others == labels.accompaniment


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_lead_and_bass_end_on_the_tonic(seed: int) -> None:
    piece = compose(seed)
    for part in piece.tracks:
        if part.role in ("lead", "bass"):
            assert part.notes[-1].pitch % 12 == piece.attributes.tonic
    assert piece.chords[-1].root == piece.attributes.tonic


def test_strong_beats_of_the_melody_are_chord_tones(pieces: list[Piece]) -> None:
    for piece in pieces:
        if piece.attributes.tune:
            continue
        strong = [note for note in track(piece, "lead").notes if note.start % piece.beats_per_bar < 1e-6]
        fitting = 0
        for note in strong:
            chord = chord_at(piece.chords, note.start)
            fitting += note.pitch % 12 in chord_tones(chord.root, chord.quality)
        assert fitting >= 0.8 * len(strong), piece.seed


def test_the_melody_never_rests_long_after_the_introduction(pieces: list[Piece]) -> None:
    for piece in pieces:
        notes = track(piece, "lead").notes
        assert piece.seconds_at(notes[0].start) <= 8.0
        gaps = [b.start - a.start - a.duration for a, b in pairwise(notes)]
        assert piece.seconds_at(max(gaps)) <= 6.0, piece.seed


def test_the_lead_is_louder_than_its_accompaniment(pieces: list[Piece]) -> None:
    for piece in pieces:
        loudness = {p.role: np.mean([note.velocity for note in p.notes]) for p in piece.tracks}
        for role in ("chords", "pad", "counter"):
            assert loudness.get(role, 0.0) <= loudness["lead"] - 8, piece.seed


def test_phrases_repeat_so_that_a_piece_has_a_theme(pieces: list[Piece]) -> None:
    repeating = 0
    for piece in pieces:
        bars: dict[tuple[float, ...], int] = {}
        by_bar: dict[int, list[float]] = {}
        for note in track(piece, "lead").notes:
            bar, onset = divmod(note.start, piece.beats_per_bar)
            by_bar.setdefault(int(bar), []).append(round(onset, 3))
        for onsets in by_bar.values():
            bars[tuple(onsets)] = bars.get(tuple(onsets), 0) + 1
        repeating += max(bars.values()) >= 3
    assert repeating >= 0.9 * len(pieces)


def test_chords_move_by_small_steps(pieces: list[Piece]) -> None:
    for piece in pieces:
        for part in piece.tracks:
            if part.role == "pad":
                starts = sorted({note.start for note in part.notes})
                tops = [
                    max(n.pitch for n in part.notes if n.start <= s < n.start + n.duration) for s in starts
                ]
                assert all(abs(a - b) <= 9 for a, b in pairwise(tops)), piece.seed


def test_all_labels_are_reached() -> None:
    generator = np.random.Generator(np.random.PCG64(5))
    drawn = [draw_attributes(generator) for _ in range(2500)]
    assert {labels.genre for labels in drawn} == set(GENRES)
    assert {labels.mood for labels in drawn} == set(MOODS)
    assert {labels.lead for labels in drawn} == set(LEADS)
    assert {(labels.tonic, labels.mode) for labels in drawn} == {
        (t, m) for t in range(12) for m in ("major", "minor")
    }
    assert {name for labels in drawn for name in labels.accompaniment[:1]} >= set(CHORD_INSTRUMENTS)
    assert {labels.bass for labels in drawn} == {*BASSES, ""}
    assert {labels.tune for labels in drawn} == {*SONGBOOK, ""}
    assert 0.5 <= np.mean([labels.drums for labels in drawn]) <= 0.62
    assert any(not labels.accompaniment for labels in drawn)


def test_every_genre_is_played_with_and_without_drums_at_every_tempo() -> None:
    generator = np.random.Generator(np.random.PCG64(6))
    drawn = [draw_attributes(generator) for _ in range(4000)]
    for genre in GENRES:
        own = [labels for labels in drawn if labels.genre == genre]
        assert {labels.drums for labels in own} == {True, False}
        tempos = np.array([labels.tempo for labels in own])
        assert tempos.min() >= 60
        assert tempos.max() <= 180
        shares = np.histogram(tempos, bins=[60, 84, 108, 132, 156, 181])[0] / len(own)
        assert shares.min() >= 0.06, genre


def test_fixed_labels_are_kept() -> None:
    piece = compose(7, attributes=CALM, piece_id="calm-violin")
    assert piece.attributes == CALM
    assert piece.id == "calm-violin"
    assert compose(7).id == "00000007"


@pytest.mark.parametrize("genre", sorted(GENRES))
@pytest.mark.parametrize("tempo", [60.0, 97.0, 180.0])
def test_every_genre_works_at_every_tempo_in_both_modes(genre: str, tempo: float) -> None:
    for mode in ("major", "minor"):
        labels = replace(CALM, genre=genre, tempo=tempo, mode=mode, drums=True, bass="double bass")
        piece = compose(1, attributes=labels)
        assert 30.0 <= piece.seconds <= 45.0
        assert piece.beats_per_bar in GENRES[genre].metres


@pytest.mark.parametrize("title", sorted(SONGBOOK))
def test_every_tune_is_playable_at_every_tempo(title: str) -> None:
    tune = SONGBOOK[title]
    for tempo in (60.0, 75.0, 101.0, 139.0, 180.0):
        labels = replace(CALM, tune=title, mode=tune.mode, genre="folk", tempo=tempo, tonic=8, lead="trumpet")
        piece = compose(2, attributes=labels)
        assert 30.0 <= piece.seconds <= 45.0
        assert piece.beats_per_bar == tune.beats_per_bar


def test_moods_shape_the_music() -> None:
    def notes_per_second(mood: str) -> float:
        labels = replace(CALM, mood=mood, tempo=110.0)
        pieces = [compose(seed, attributes=labels) for seed in range(6)]
        return float(np.mean([len(track(piece, "lead").notes) / piece.seconds for piece in pieces]))

    assert notes_per_second("energetic") > 1.4 * notes_per_second("calm")
    loud = track(compose(1, attributes=replace(CALM, mood="heroic")), "lead").notes
    soft = track(compose(1, attributes=replace(CALM, mood="dreamy")), "lead").notes
    assert np.mean([note.velocity for note in loud]) > 20 + np.mean([note.velocity for note in soft])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"genre": "polka"}, "unknown genre 'polka'; known are: techno"),
        ({"mood": "bored"}, "unknown mood"),
        ({"lead": "kazoo"}, "unknown lead"),
        ({"bass": "violin"}, "unknown bass"),
        ({"mode": "dorian"}, "unknown mode"),
        ({"tonic": 12}, "expected a tonic"),
        ({"tempo": 200.0}, "expected a tempo of 60 to 180 bpm, got 200"),
        ({"tune": "Yesterday"}, "unknown tune"),
        ({"tune": "Greensleeves", "mode": "minor", "genre": "techno"}, "3 beats to the bar"),
        ({"tune": "Greensleeves"}, "is in minor"),
        ({"accompaniment": ("flute",)}, "unknown accompaniment"),
        ({"accompaniment": ("organ", "organ")}, "twice"),
    ],
)
def test_impossible_labels_are_refused_in_one_line(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as refusal:
        compose(1, attributes=replace(CALM, **change))
    assert "\n" not in str(refusal.value)


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="seed of 0 or more"):
        compose(-1)


def test_every_pattern_fills_its_bar() -> None:
    for table in (ACCOMPANIMENT, BASS):
        assert set(table) == set(GENRES)
        for metres in table.values():
            for beats, lines in metres.items():
                assert all(len(line) == 4 * beats for line in lines), lines
    for genre, drums in DRUMS_OF.items():
        assert set(drums) == set(GENRES[genre].metres)
        for beats, patterns in drums.items():
            for pattern in patterns:
                assert set(pattern.lines) <= set(PERCUSSION)
                assert all(len(line) == 4 * beats for line in pattern.lines.values()), (genre, pattern)


def test_a_variation_keeps_the_melody_and_its_rhythm() -> None:
    piece = compose(11, attributes=CALM)
    other = rearrange(piece, lead="cello", transpose=5, tempo=100.0, piece_id="other")
    before, after = track(piece, "lead").notes, track(other, "lead").notes
    assert [note.start for note in before] == [note.start for note in after]
    assert [(note.pitch + 5) % 12 for note in before] == [note.pitch % 12 for note in after]
    assert other.attributes == replace(CALM, lead="cello", tonic=5, tempo=100.0)
    assert other.chords[-1].root == 5
    assert other.id == "other"
    assert all(36 <= note.pitch <= 76 for note in after)


def test_a_melody_alone_has_one_track() -> None:
    alone = rearrange(compose(0), lead="whistle", alone=True)
    assert [part.role for part in alone.tracks] == ["lead"]
    assert (alone.attributes.drums, alone.attributes.bass, alone.attributes.accompaniment) == (False, "", ())
    with pytest.raises(ValueError, match="unknown lead"):
        rearrange(alone, lead="kazoo")


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_chords_cover_the_piece_in_order(seed: int) -> None:
    piece = compose(seed)
    starts = [chord.start for chord in piece.chords]
    assert starts[0] == 0.0
    assert starts == sorted(set(starts))
    assert starts[-1] < piece.beats
    assert all(chord.quality in QUALITIES and 0 <= chord.root < 12 for chord in piece.chords)
