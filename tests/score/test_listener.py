"""The listener's promises that need no training: shapes, keys, windows, silence, and what is left unsaid."""

import numpy as np
import pytest
import torch

from musiclm.score import listener as module
from musiclm.score.codes import CHORD_QUALITIES
from musiclm.score.hearing import Heard, score_heard
from musiclm.score.listener import LEVEL, Around, ScoreListener
from musiclm.score.score import NO_CHORD, Chord, From, Key
from tests.tiny import SAMPLE_RATE, noise, tone


def make_listener() -> ScoreListener:
    torch.manual_seed(0)
    return ScoreListener(2, 4, harmony_layers=2, width=8, layers=2).eval()


def test_frames_are_80_ms_of_harmony_and_20_of_rhythm() -> None:
    said = make_listener()(noise(3 * SAMPLE_RATE + 5, batch=2))
    assert said.beat.shape == said.downbeat.shape == said.drums.shape == (2, 152)
    assert said.root.shape == (2, 13, 38)
    assert said.quality.shape == (2, len(CHORD_QUALITIES), 12, 38)
    assert said.key.shape == (2, 24, 38)


def test_every_weight_is_learned() -> None:
    part = make_listener().train()
    said = part(noise(SAMPLE_RATE, batch=2))
    sum(each.float().square().mean() for each in vars(said).values()).backward()
    assert all(each.grad is not None and each.grad.abs().sum() > 0 for each in part.parameters())


def test_what_is_over_pitch_classes_moves_with_them() -> None:
    torch.manual_seed(0)
    layer = Around(3, 4)
    x = torch.randn(1, 3, 12, 5)
    assert torch.allclose(layer(x.roll(5, dims=2)), layer(x).roll(5, dims=2), atol=1e-6)


def test_only_what_training_makes_is_kept() -> None:
    assert not [name for name in make_listener().state_dict() if "filters" in name or "shape" in name]


@pytest.mark.parametrize("length", [0, 1, 5 * SAMPLE_RATE])
def test_silence_has_no_score(length: int) -> None:
    score = make_listener().hear(torch.zeros(1, 1, length))
    assert score.known == ()
    assert score.seconds == length / SAMPLE_RATE


def test_any_length_and_level_is_heard() -> None:
    for length in (1, 100, SAMPLE_RATE + 1):
        assert make_listener().hear(1e-2 * noise(length)).seconds == length / SAMPLE_RATE


def test_long_recordings_are_heard_in_windows_as_if_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    part = make_listener()
    heard: list[Heard] = []
    monkeypatch.setattr(module, "score_heard", lambda found, *rest: heard.append(found))
    waveform = noise(17 * SAMPLE_RATE + 77) + tone(17.01).waveform[None, :, : 17 * SAMPLE_RATE + 77]
    part.hear(waveform)
    # Windows of 4 s, and 6.4 s around them: a layer hears at most 1 s away, and the key is told by 5 s.
    monkeypatch.setattr(module, "WINDOW", 4.0)
    monkeypatch.setattr(module, "CONTEXT", 6.4)
    part.hear(waveform)
    whole, windows = heard
    for name, values in vars(whole).items():
        # Sums over other lengths are rounded otherwise.
        np.testing.assert_allclose(getattr(windows, name), values, atol=2e-4, err_msg=name)


def test_the_level_of_a_recording_makes_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[Heard] = []
    monkeypatch.setattr(module, "score_heard", lambda found, *rest: heard.append(found))
    waveform = noise(2 * SAMPLE_RATE) * (LEVEL / 0.1)
    for gain in (1.0, 0.01):
        make_listener().hear(gain * waveform)
    np.testing.assert_allclose(heard[0].chord, heard[1].chord, atol=1e-3)  # float32


def heard_chords(seconds: float = 8.0) -> Heard:
    """C major, then for half of the time A minor; F major; drums in the second half; no beat."""
    frames, strokes = round(seconds * 12.5), round(seconds * 50)
    half = np.arange(frames) >= frames / 2
    chord = np.full((12 * len(CHORD_QUALITIES) + 1, frames), 0.1 / 168)
    minor = 9 * len(CHORD_QUALITIES) + CHORD_QUALITIES.index("minor")
    chord[CHORD_QUALITIES.index("major"), ~half] = 0.9
    chord[minor, half] = 0.9
    key = np.full((24, frames), 0.1 / 23)
    key[5] = 0.9
    drums = np.where(np.arange(strokes) >= strokes / 2, 0.95, 0.05)
    return Heard(np.full(strokes, 0.01), np.full(strokes, 0.002), drums, np.log(chord), np.log(key))


def test_what_is_clear_is_said_and_the_rest_is_not() -> None:
    heard = heard_chords()
    loud = np.ones(100)
    score = score_heard(heard, loud, 8.0)
    assert score.beats == ()
    assert score.keys == (From(0.0, Key(5, "major")),)
    assert score.chords == (From(0.0, Chord(0, "major")), From(4.0, Chord(9, "minor")))
    assert score.drums == (From(0.0, False), From(4.0, True))

    loud[60:] = 0.0  # silence after 4.8 s
    assert score_heard(heard, loud, 8.0).chords[2] == From(4.8, None)
    unsure = Heard(heard.beat, heard.downbeat, 0.5 + 0.1 * heard.drums, heard.chord * 0, heard.key * 0)
    unsure.chord[:] = -np.log(len(unsure.chord))
    unsure.key[:] = -np.log(24)
    assert score_heard(unsure, loud, 8.0).known == ()


def test_where_no_chord_sounds_it_says_so() -> None:
    heard = heard_chords()
    heard.chord[:, :50] = np.log(0.1 / 168)
    heard.chord[-1, :50] = np.log(0.9)
    assert score_heard(heard, np.ones(100), 8.0).chords[0] == From(0.0, NO_CHORD)


def test_beats_are_said_where_they_are_clear_and_chords_change_with_them() -> None:
    heard = heard_chords()
    times = np.arange(400) / 50
    at = np.arange(0.02, 4.6, 0.5)
    peaks = np.clip(1 - np.abs(times[:, None] - at) * 50 / 2, 0, 1)
    beat = np.maximum(0.95 * peaks.max(axis=1), 0.001)
    downbeat = np.maximum(0.9 * peaks[:, ::4].max(axis=1), 0.0005)
    score = score_heard(Heard(beat, downbeat, heard.drums, heard.chord, heard.key), np.ones(100), 8.0)
    found = np.array([each.at for each in score.beats])
    assert abs(found[: len(at)] - at).max() < 0.011
    assert found[-1] < 7.0  # the clear ones are over; some more are judged by them
    assert [each.place for each in score.beats[:5]] == [0, 1, 2, 3, 0]
    assert score.chords[1].at == pytest.approx(4.02, abs=0.011)
