"""What is heard is measured against what is true, in shares of it."""

from dataclasses import replace

import pytest

from musiclm.score.agreement import agreement
from musiclm.score.score import Chord, From, Key, Score, steady_beats

TRUE = Score(
    10.0,
    steady_beats(10.0, 120.0, 4),
    (From(0.0, Key(0, "major")),),
    (From(0.0, Chord(0, "major")), From(5.0, Chord(9, "minor7"))),
    (From(0.0, True),),
)


def test_the_truth_agrees_with_itself() -> None:
    assert agreement(TRUE, TRUE) == pytest.approx(
        dict.fromkeys(("beat", "downbeat", "meter", "root", "chord", "key", "drums"), 1.0)
    )


def test_shares_are_of_the_time() -> None:
    heard = replace(TRUE, chords=(From(0.0, Chord(0, "minor")), From(5.0, Chord(9, "minor"))), drums=())
    figures = agreement(heard, TRUE)
    assert figures["root"] == 1.0
    assert figures["chord"] == pytest.approx(0.5)
    assert figures["drums"] == 0.0


def test_what_is_not_known_is_not_measured() -> None:
    assert set(agreement(TRUE, TRUE.only(["keys"]))) == {"key"}
    assert set(agreement(Score(10.0), TRUE).values()) == {0.0}
