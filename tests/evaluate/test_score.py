"""How well a score is heard: perfect hearing is 1, and a run over a tiny listener."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.cli import main
from musiclm.evaluate.listener import Listener
from musiclm.evaluate.score import Piece, corpus, judged
from musiclm.score.controls import Controls
from musiclm.score.plan import plan_of
from musiclm.score.score import Score
from tests.evaluate.test_control import heard
from tests.tiny import folder_of_tones
from tests.tiny_model import make_bundle

TRUE = plan_of(Controls.of(bpm=120.0, meter="3/4", key="A minor", chords="Am Dm", drums=False)).score(12.0)
SOUND = Audio(torch.zeros(1, 12 * 24_000), 24_000)


class Hears:
    """In place of a listener: hears what it is to hear."""

    sample_rate = 24_000

    def __init__(self, score: Score) -> None:
        self.score = score

    def hear(self, waveform: Tensor) -> Score:
        return self.score


class Tells(Listener):
    """In place of the other one."""

    def hear(self, audio: Audio):
        return heard(tempo=120.0, key="A minor", mode="minor", drums=True)


def test_what_is_heard_exactly_is_right_in_every_respect() -> None:
    figures = judged(Piece("a", SOUND, TRUE), Hears(TRUE), Tells())  # type: ignore[arg-type]
    assert set(figures) == {"beat", "downbeat", "meter", "root", "chord", "key", "drums"}
    assert all(value == pytest.approx(1.0) for value in figures.values())


def test_of_music_without_labels_the_other_listener_is_asked() -> None:
    figures = judged(Piece("a", SOUND, Score(12.0)), Hears(TRUE), Tells())  # type: ignore[arg-type]
    assert figures == {"other_tempo": 1.0, "other_octave": 1.0, "other_key": 1.0, "other_drums": 0.0}
    nothing = judged(Piece("a", SOUND, Score(12.0)), Hears(Score(12.0)), Tells())  # type: ignore[arg-type]
    assert set(nothing.values()) == {0.0}


def test_the_corpus_says_what_is_true_of_its_pieces() -> None:
    (piece,) = corpus(1, seed=0)
    assert piece.true.known == ("beats", "keys", "chords", "drums")
    assert piece.true.seconds == piece.audio.seconds


@pytest.mark.slow
def test_a_folder_is_heard_and_what_cannot_be_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    music = folder_of_tones(tmp_path / "music", 2, seconds=11.0)
    folder_of_tones(tmp_path / "music" / "short", 1, seconds=2.0)
    bundle = make_bundle(tmp_path / "made", score=True)
    words = ["evaluate", "score", "--audio", str(music), "--out", str(tmp_path / "score")]
    main([*words, "--bundle", str(bundle)])
    shown = capsys.readouterr()
    assert "another listener's key" in shown.out
    assert "expected 10 s or more" in shown.err
    written = json.loads((tmp_path / "score" / "score.json").read_text())
    assert written["figures"]["other_key"]["count"] == 2
    for bad in (["--bundle", str(make_bundle(tmp_path / "plain"))], ["--pieces", "0"]):
        with pytest.raises(SystemExit) as stop:
            main([*words, *bad])
        assert stop.value.code == 2
