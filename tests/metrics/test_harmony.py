"""How chords are compared: as mir_eval does it."""

from itertools import pairwise

import numpy as np
import pytest

from musiclm.corpus.theory import QUALITIES
from musiclm.metrics.harmony import overlap, triad

C, AM, G7, DIM = (0, (0, 4, 7)), (9, (0, 3, 7)), (7, (0, 4, 7, 10)), (11, (0, 3, 6))
CLASSES = ("C", "Db", "D", "Eb", "E", "F", "Gb", "G", "Ab", "A", "Bb", "B")
HARTE = {
    "major": "maj", "minor": "min", "diminished": "dim", "augmented": "aug", "dominant7": "7",
    "major7": "maj7", "minor7": "min7", "half-diminished7": "hdim7", "diminished7": "dim7",
    "major6": "maj6", "minor6": "min6", "suspended2": "sus2", "suspended4": "sus4", "power": "5",
}  # fmt: skip


def test_the_share_of_time_with_the_right_chord() -> None:
    true = [((0.0, 2.0), C), ((2.0, 4.0), AM)]
    assert overlap(true, true) == 1.0
    assert overlap(true, [((0.0, 4.0), C)]) == 0.5
    assert overlap(true, [((1.0, 3.0), C)]) == 0.25
    assert overlap(true, []) == 0.0


def test_a_seventh_counts_as_its_triad_and_what_has_none_is_not_counted() -> None:
    assert triad(G7) == (7, "major")
    assert triad(DIM) == ""
    assert triad(None) is None
    assert overlap([((0.0, 1.0), G7), ((1.0, 9.0), DIM)], [((0.0, 1.0), (7, (0, 4, 7)))]) == 1.0
    assert overlap([((0.0, 1.0), DIM)], [((0.0, 1.0), (11, (0, 3, 7)))], roots_only=True) == 1.0
    assert np.isnan(overlap([((0.0, 1.0), DIM)], []))


def test_no_chord_is_a_chord_of_its_own() -> None:
    assert overlap([((0.0, 1.0), None)], [((0.0, 1.0), None)]) == 1.0
    assert overlap([((0.0, 1.0), None)], [((0.0, 1.0), C)]) == 0.0


def test_it_is_what_mir_eval_says() -> None:
    chord = pytest.importorskip("mir_eval").chord
    generator = np.random.default_rng(0)
    qualities = [quality for quality in QUALITIES if quality != "power"]  # of which mir_eval has two opinions

    def drawn() -> list:
        cuts = [0.0, *np.sort(generator.uniform(0, 20, 11)).tolist(), 20.0]
        labels = [(int(generator.integers(12)), str(generator.choice(qualities))) for _ in cuts[1:]]
        return list(zip(pairwise(cuts), labels, strict=True))

    for _ in range(5):
        true = drawn()
        heard = [
            (times, other if generator.random() < 0.5 else label)
            for (times, label), (_, other) in zip(true, drawn(), strict=True)
        ]
        spoken = [
            (
                np.array([times for times, _ in each]),
                [f"{CLASSES[label[0]]}:{HARTE[label[1]]}" for _, label in each],
            )
            for each in (true, heard)
        ]
        scores = chord.evaluate(*spoken[0], *spoken[1])
        own, other = (
            [(times, (root, QUALITIES[quality])) for times, (root, quality) in each] for each in (true, heard)
        )
        assert overlap(own, other) == pytest.approx(scores["majmin"], abs=1e-6)
        assert overlap(own, other, roots_only=True) == pytest.approx(scores["root"], abs=1e-6)
