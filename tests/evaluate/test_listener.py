"""The listener: right about pieces and sounds that it has not learned from, and honest about what is none."""

import math
from collections.abc import Sequence

import pytest
import torch

from musiclm.audio import Audio
from musiclm.evaluate.heard_attributes import ATTRIBUTES, spelled_out
from musiclm.evaluate.labelled_clips import corpus_clips
from musiclm.evaluate.listener import NOTHING, SAMPLE_RATE, WEIGHTS, Listener
from musiclm.evaluate.listener_training import Examples, fitted
from musiclm.metrics.tempo import BANDS, PERIODS, judge


@pytest.fixture(scope="module")
def listener() -> Listener:
    return Listener.load()


def played(pitches: Sequence[Sequence[int]], seconds: float = 0.5) -> Audio:
    """Chords of MIDI pitches one after another, plucked, with four partials a note."""
    time = torch.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    chords = []
    for chord in pitches:
        hertz = torch.tensor([440 * 2 ** ((pitch - 69) / 12) for pitch in chord])
        partials = (hertz[:, None] * torch.arange(1, 5)).flatten()
        loudness = (1 / torch.arange(1, 5)).repeat(len(chord))
        sines = loudness[:, None] * torch.sin(2 * torch.pi * partials[:, None] * time)
        chords.append(sines.sum(dim=0) * torch.exp(-3 * time) / (4 * len(chord)))
    return Audio(torch.cat(chords)[None], SAMPLE_RATE)


def cadence(tonic: int, mode: str) -> list[list[int]]:
    """A scale up and I, IV, V, I with their basses, in a key."""
    third = 4 if mode == "major" else 3
    scale = [0, 2, third, 5, 7, third + 5, 11, 12]
    chords = [[0, third, 7], [5, 5 + third, 12], [7, 11, 14], [0, third, 7]]
    steps = [[60 + tonic + step] for step in scale]
    return [
        *steps,
        *([48 + tonic + chord[0] - 12, *(60 + tonic + note for note in chord)] for chord in chords),
    ]


@pytest.mark.parametrize(
    ("tonic", "mode", "key"),
    [
        (0, "major", "C major"),
        (9, "minor", "A minor"),
        (6, "major", "F sharp major"),
        (2, "minor", "D minor"),
    ],
)
def test_a_scale_and_a_cadence_are_in_their_key(listener: Listener, tonic: int, mode: str, key: str) -> None:
    heard = listener.hear(played(cadence(tonic, mode) * 2))
    assert (heard.key, heard.mode) == (key, mode)


@pytest.mark.parametrize("bpm", [70, 95, 120, 150, 175])
def test_the_tempo_of_a_drum_pattern(listener: Listener, bpm: float) -> None:
    """Low strokes on the beats, noise between them: right, or an octave off, which is a matter of taste."""
    beat, time = 60 / bpm, torch.arange(2_400) / SAMPLE_RATE
    kick = torch.sin(2 * torch.pi * 60 * time) * torch.exp(-30 * time)
    sound = torch.zeros(10 * SAMPLE_RATE + 2_400)
    for number in range(int(20 / beat)):
        start = round(number * beat / 2 * SAMPLE_RATE)
        sound[start : start + 2_400] += (
            kick if number % 2 == 0 else 0.2 * torch.randn(2_400) * torch.exp(-60 * time)
        )
    heard = listener.hear(Audio(0.5 * sound[None, : 10 * SAMPLE_RATE], SAMPLE_RATE))
    assert judge(heard.tempo, bpm) in ("right", "octave")
    assert heard.pulse > 0.6
    assert heard.drums


def test_pieces_of_another_corpus_are_heard_rightly(listener: Listener) -> None:
    """Twelve pieces; the bars are far below what hundreds of them reach (docs/default-model.md)."""
    clips = corpus_clips("train", 12, 10.0, seed=5)
    told = [(listener.hear(clip.audio), spelled_out(clip.labels)) for clip in clips]
    right = {
        name: sum(each.holds(heard, labels[each.label]) for heard, labels in told)
        for name, each in ATTRIBUTES.items()
    }
    assert right["drums"] >= 11
    assert right["tempo"] >= 10
    assert right["key"] >= 8
    assert right["lead"] >= 9
    assert right["genre"] >= 6


def test_in_silence_nothing_is_heard(listener: Listener) -> None:
    assert listener.hear(Audio(torch.zeros(1, 10 * SAMPLE_RATE), SAMPLE_RATE)) == NOTHING
    assert math.isnan(NOTHING.tempo)


def test_what_cannot_be_listened_to_is_an_error(listener: Listener) -> None:
    with pytest.raises(ValueError, match=r"expected 5 s or more to listen to, got 2\.0 s"):
        listener.hear(Audio(torch.zeros(1, 2 * SAMPLE_RATE), SAMPLE_RATE))
    broken = torch.zeros(1, 10 * SAMPLE_RATE)
    broken[0, 5] = math.nan
    with pytest.raises(ValueError, match="expected a waveform of numbers"):
        listener.hear(Audio(broken, SAMPLE_RATE))


def test_another_rate_and_two_channels_are_heard_alike(listener: Listener) -> None:
    sound = played(cadence(4, "major") * 2)
    other = sound.resample(44_100)
    stereo = Audio(other.waveform.expand(2, -1), 44_100)
    assert listener.hear(stereo).key == listener.hear(sound).key == "E major"


def test_the_weights_are_light() -> None:
    assert WEIGHTS.stat().st_size < 200_000


def test_training_learns_what_its_examples_say() -> None:
    """A peak at the beat, one sounding scale, one band per instrument: each network finds it."""
    count = 96
    tempi = 60 + 120 * torch.rand(count)
    away = torch.log2(torch.tensor(PERIODS).float() * tempi[:, None] / 60)
    tempograms = torch.exp(-((away * 36) ** 2) / 2)[:, None].expand(-1, BANDS, -1)
    keys, leads = torch.arange(count) % 24, torch.arange(count) % 4
    scales = torch.zeros(2, 12)
    scales[0, [0, 4, 7]], scales[1, [0, 3, 7]] = 1.0, 1.0
    classes = torch.stack([scales[key // 12].roll(key % 12) for key in keys.tolist()])
    log_mels = torch.zeros(count, 80, 40).scatter(1, (20 * leads)[:, None, None].expand(-1, 10, 40), 3.0)
    examples = Examples(
        tempograms,
        classes[:, None, :, None].expand(-1, 3, -1, 12),
        log_mels.half(),
        tempi,
        keys,
        torch.stack([leads, leads, leads % 2], dim=1),
    )
    learned = fitted(examples, {"tempo": 12, "key": 12, "timbre": 8})
    with torch.inference_mode():
        kinds = learned.timbre.kind(log_mels)
        heard = learned.tempo.tempo(tempograms, kinds)
        assert sum(judge(*pair) == "right" for pair in zip(heard.tolist(), tempi.tolist(), strict=True)) > 80
        assert (learned.key(examples.pitch_classes).argmax(dim=1) == keys).float().mean() > 0.9
        assert (learned.timbre(log_mels)[0].argmax(dim=1) == leads).float().mean() > 0.9
