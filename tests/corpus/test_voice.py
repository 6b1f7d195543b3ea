"""A voice: it sings the notes, nearly in tune, gliding; a hum is rich in partials, a whistle pure."""

from dataclasses import replace

import numpy as np
import pytest

from musiclm.corpus.composer import compose
from musiclm.corpus.piece import Note, Piece, Track
from musiclm.corpus.synthesis import CEILING, SAMPLE_RATE, num_samples
from musiclm.corpus.voice import VOICES, sing, take


def make_piece(pitches: list[int], *, seed: int = 0, beats: float = 2.0) -> Piece:
    """A lead of notes of `beats` each, at 120 beats per minute."""
    piece = compose(seed, piece_id="x")
    notes = tuple(Note(beats * index, beats, pitch, 90) for index, pitch in enumerate(pitches))
    return replace(
        piece,
        seed=seed,
        attributes=replace(piece.attributes, tempo=120.0),
        tracks=(Track("lead", "flute", 73, notes),),
        beats=beats * len(pitches),
    )


def pitch_at(sound: np.ndarray, seconds: float, near: float) -> float:
    """The pitch that sounds, of those within two semitones of `near`."""
    length = 8192
    start = round(seconds * SAMPLE_RATE) - length // 2
    spectrum = np.abs(np.fft.rfft(sound[start : start + length] * np.hanning(length), 8 * length))
    pitches = near + np.arange(-2, 2, 0.02)
    places = 440 * 2 ** ((pitches - 69) / 12) * 8 * length / SAMPLE_RATE
    return float(pitches[np.interp(places, np.arange(len(spectrum)), spectrum).argmax()])


@pytest.mark.parametrize("voice", VOICES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_every_note_is_sung_within_half_a_semitone(voice: str, seed: int) -> None:
    taken = take(make_piece([60, 64, 67, 65, 62, 72, 60], seed=seed), voice)
    sound = sing(taken)
    off = []
    for note in taken.tracks[0].notes:
        middle = taken.seconds_at(note.start + note.duration / 2)
        off.append(pitch_at(sound, middle, note.pitch) - note.pitch)
    assert np.abs(off).max() < 0.75  # drift and vibrato together
    assert np.abs(off).mean() < 0.4
    assert np.std(off) > 0.01, "a machine's tuning"


@pytest.mark.parametrize("voice", VOICES)
def test_pitch_classes_stay_and_the_octave_is_the_voice_s(voice: str) -> None:
    piece = make_piece([30, 34, 37])
    notes = take(piece, voice).tracks[0].notes
    assert [note.pitch % 12 for note in notes] == [6, 10, 1]
    middle = (notes[0].pitch + notes[2].pitch) / 2
    assert VOICES[voice].lowest - 6 <= middle <= VOICES[voice].highest + 6
    late = [note.start - before.start for note, before in zip(notes, piece.tracks[0].notes, strict=True)]
    assert 0 <= min(late) <= max(late) <= 0.04 * 2  # 40 ms at two beats a second


def test_a_voice_glides_from_note_to_note() -> None:
    taken = take(make_piece([60, 64]), "whistle")
    border = taken.seconds_at(taken.tracks[0].notes[1].start)
    low = taken.tracks[0].notes[0].pitch
    sound = sing(taken)
    length = 1024  # 43 ms, as long as the shortest glide's steep part
    start = round(border * SAMPLE_RATE) - length // 2
    spectrum = np.abs(np.fft.rfft(sound[start : start + length] * np.hanning(length), 16 * length))
    pitch = 69 + 12 * np.log2(spectrum.argmax() * SAMPLE_RATE / (16 * length) / 440)
    assert low + 0.5 < pitch < low + 3.5


def test_a_hum_has_partials_and_a_whistle_hardly_any() -> None:
    share = {}
    for voice in VOICES:
        taken = take(make_piece([60]), voice)
        sound = sing(taken)[SAMPLE_RATE // 4 : SAMPLE_RATE // 4 + 12_000]
        power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
        hertz = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
        first = 440 * 2 ** ((taken.tracks[0].notes[0].pitch - 69) / 12)
        share[voice] = power[hertz > 1.5 * first].sum() / power.sum()
    assert share["whistle"] < 0.03 < share["hum"] < 0.6


@pytest.mark.parametrize("voice", VOICES)
def test_a_whole_piece_is_sung_the_same_each_time_with_rests_silent(voice: str) -> None:
    piece = compose(5, piece_id="x")
    sound = sing(take(piece, voice))
    assert sound.shape == (num_samples(piece),)
    assert sound.dtype == np.float32
    assert np.abs(sound).max() <= CEILING + 1e-6
    assert np.array_equal(sound, sing(take(piece, voice)))
    ring = sound[-SAMPLE_RATE // 4 :]
    assert ring.std() < 0.1 * sound.std()


def test_other_pieces_are_sung_otherwise() -> None:
    one, other = (sing(take(make_piece([60, 64], seed=seed), "hum")) for seed in (0, 1))
    assert not np.allclose(one, other)


def test_an_unknown_voice_is_refused() -> None:
    with pytest.raises(ValueError, match="known are: hum, whistle"):
        take(make_piece([60]), "yodel")
