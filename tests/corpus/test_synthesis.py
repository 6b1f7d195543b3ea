"""The sound of a piece: exact to its labels, at one loudness, and the same every time."""

from dataclasses import replace

import numpy as np
import pytest

from musiclm.corpus.piece import Attributes, Chord, Note, Piece, Track
from musiclm.corpus.synthesis import LOUDNESS, SAMPLE_RATE, num_samples, synthesize


def make_piece(*tracks: Track, tempo: float = 120.0, beats: float = 8.0, seed: int = 1) -> Piece:
    labels = Attributes(
        genre="rock",
        mood="calm",
        tonic=0,
        mode="major",
        tempo=tempo,
        lead="violin",
        accompaniment=(),
        bass="",
        drums=any(track.is_drum for track in tracks),
        tune="",
    )
    return Piece("p", seed, labels, tracks, (Chord(0.0, 0, "major"),), beats, 4)


def melody(program: int = 40, *, pitches: tuple[int, ...] = (72, 76, 79, 84), role: str = "lead") -> Track:
    notes = tuple(Note(2.0 * k, 1.8, pitch, 90) for k, pitch in enumerate(pitches))
    return Track(role, "instrument", program, notes)


def beat(beats: int = 8, *, key: int = 38, every: float = 1.0) -> Track:
    hits = tuple(Note(k * every, 0.2, key, 100) for k in range(int(beats / every)))
    return Track("drums", "drums", 0, hits)


def rms_db(sound: np.ndarray) -> float:
    return 10 * np.log10((sound.astype(np.float64) ** 2).mean() + 1e-20)


def onset_strength(sound: np.ndarray, hop: int = 240) -> np.ndarray:
    """Rise of the log spectrum from one hop (10 ms) to the next."""
    frames = np.lib.stride_tricks.sliding_window_view(sound, 4 * hop)[::hop] * np.hanning(4 * hop)
    magnitude = np.log1p(100 * np.abs(np.fft.rfft(frames, axis=1)))
    return np.maximum(np.diff(magnitude, axis=0), 0).mean(axis=1)


def test_same_piece_gives_the_same_samples_and_another_seed_another_room() -> None:
    piece = make_piece(melody(), beat())
    first = synthesize(piece)
    assert first.tobytes() == synthesize(piece).tobytes()
    assert first.tobytes() != synthesize(replace(piece, seed=2)).tobytes()


@pytest.mark.parametrize("program", [0, 25, 40, 48, 56, 81])
def test_one_loudness_without_clipping_or_dc(program: int) -> None:
    piece = make_piece(melody(program), melody(33, pitches=(36, 36, 43, 36), role="bass"), beat())
    sound = synthesize(piece)
    assert sound.dtype == np.float32
    assert sound.shape == (num_samples(piece),)
    assert np.abs(sound).max() <= 10 ** (-1 / 20) + 1e-6
    assert abs(rms_db(sound) - LOUDNESS) < 1.0
    assert abs(float(sound.mean())) < 1e-3
    assert np.abs(sound[-24:]).max() < 1e-3, "the end is cut off"
    slow = sound[: len(sound) // 2400 * 2400].reshape(-1, 2400).mean(axis=1)  # over 100 ms
    assert np.abs(slow).max() < 0.01, "DC while an instrument plays"


def test_peaks_are_held_down_smoothly() -> None:
    """A single hit every four beats has peaks far above its RMS: the limiter has to work."""
    sound = synthesize(make_piece(beat(16, every=4.0), beats=16.0))
    assert 0.8 < np.abs(sound).max() <= 10 ** (-1 / 20) + 1e-6
    assert (np.abs(sound) > 0.89).sum() < 100, "flat tops: clipped, not turned down"


def test_notes_begin_where_the_labels_say() -> None:
    starts = (1.0, 2.5, 4.0, 5.25)
    for tempo in (75.0, 120.0):
        track = Track("drums", "drums", 0, tuple(Note(start, 0.2, 38, 100) for start in starts))
        piece = make_piece(track, tempo=tempo)
        sound = synthesize(piece)
        for start in starts:
            sample = round(piece.seconds_at(start) * SAMPLE_RATE)
            before, after = sound[sample - 720 : sample - 24], sound[sample : sample + 720]
            assert rms_db(after) > rms_db(before) + 15  # from 30 ms before to 30 ms after


def test_melody_sounds_at_the_labelled_pitches() -> None:
    piece = make_piece(melody(73))
    sound = synthesize(piece)
    for note in piece.tracks[0].notes:
        begin = round(piece.seconds_at(note.start + 0.5) * SAMPLE_RATE)
        frame = sound[begin : begin + 12_000] * np.hanning(12_000)  # half a second: bins of 2 Hz
        spectrum = np.abs(np.fft.rfft(frame))
        expected = 440 * 2 ** ((note.pitch - 69) / 12)
        loudest = np.argmax(spectrum) * SAMPLE_RATE / 12_000
        octaves = np.log2(loudest / expected)
        assert abs(octaves - round(octaves)) < 0.3 / 12, "out of tune"
        assert round(octaves) in (0, 1)


@pytest.mark.parametrize("tempo", [80.0, 126.0, 170.0])
def test_tempo_of_the_labels_is_in_the_audio(tempo: float) -> None:
    piece = make_piece(beat(16), melody(), tempo=tempo, beats=16.0)
    strength = onset_strength(synthesize(piece))
    strength = strength - strength.mean()
    correlation = np.correlate(strength, strength, "full")[len(strength) :]  # lag 1 first, 10 ms each
    lags = np.arange(20, 90)  # one beat of 300 to 67 bpm
    lag = lags[np.argmax(correlation[lags - 1])]
    assert 6000 / lag == pytest.approx(tempo, rel=0.03)


@pytest.mark.parametrize(("program", "pitch"), [(65, 64), (78, 72), (78, 88), (21, 85), (22, 72), (81, 94)])
def test_faults_of_the_soundfont_are_mended(program: int, pitch: int) -> None:
    """As they come, these keys are silent or 30 to 900 cents off."""
    piece = make_piece(melody(program, pitches=(pitch,) * 4))
    sound = synthesize(piece)[4800:24_000]  # from 0.2 s, past the attack, into the first note's middle
    frames = np.lib.stride_tricks.sliding_window_view(sound, 2400)[::1200] * np.hanning(2400)
    spectra = np.abs(np.fft.rfft(frames, 1 << 16, axis=1))
    loudest = spectra.argmax(axis=1) * SAMPLE_RATE / (1 << 16)
    octaves = np.log2(loudest / (440 * 2 ** ((pitch - 69) / 12)))
    off = 1200 * (octaves[:, None] - np.log2([0.5, 1, 2, 3, 4, 5]))  # cents from each harmonic
    nearest = off[np.arange(len(off)), np.abs(off).argmin(axis=1)]
    assert abs(np.median(nearest)) < 15  # a vibrato's extremes cancel


def test_drums_are_measurably_there_or_not() -> None:
    for lead in (0, 40, 48):
        without = onset_strength(synthesize(make_piece(melody(lead))))
        with_drums = onset_strength(synthesize(make_piece(melody(lead), beat(every=0.5))))
        assert np.quantile(with_drums, 0.95) > 1.3 * np.quantile(without, 0.95)


def test_lead_stays_in_front_whatever_plays_it() -> None:
    """Programs differ by more than 20 dB in the soundfont; in the mix a lead keeps its distance."""
    chords = Track("chords", "piano", 0, tuple(Note(2.0 * k, 1.9, 48, 80) for k in range(4)))
    for program in (4, 11, 40, 56, 73, 80):
        piece = make_piece(melody(program, pitches=(84, 84, 84, 84)), chords)
        sound = synthesize(piece)[: 3 * SAMPLE_RATE]
        power = np.abs(np.fft.rfft(sound * np.hanning(len(sound)))) ** 2
        frequency = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE)
        lead = power[(frequency > 1000) & (frequency < 1100)].sum() + power[frequency > 2000].sum()
        rest = power[(frequency > 100) & (frequency < 900)].sum()
        assert 0 < 10 * np.log10(lead / rest) < 20


def test_long_releases_ring_into_the_end() -> None:
    piece = make_piece(melody(0))
    sound = synthesize(piece)
    end = round(piece.seconds * SAMPLE_RATE)
    assert rms_db(sound[end : end + 2400]) > -60
    assert len(sound) > end


def test_a_piece_without_notes_is_silence() -> None:
    assert not synthesize(make_piece(Track("lead", "violin", 40, ()))).any()
