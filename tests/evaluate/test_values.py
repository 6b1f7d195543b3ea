"""Whether music has the values that it is given: known figures, and a run over a tiny model."""

import json
from pathlib import Path

import pytest
import torch

from musiclm.audio import Audio
from musiclm.cli import main
from musiclm.evaluate.values import HeardClip, Wanted, figures_of, wanted_clips
from musiclm.score.controls import Controls
from musiclm.score.plan import plan_of
from tests.evaluate.test_control import heard
from tests.tiny_model import make_bundle

SILENCE = Audio(torch.zeros(1, 24_000), 24_000)


def wanted(**values: str | float | bool) -> Wanted:
    controls = Controls.of(**values)  # type: ignore[arg-type]
    return Wanted("a tune", controls, plan_of(controls).score(8.0), SILENCE)


WALTZ = wanted(bpm=120.0, meter="3/4", key="A minor", chords="Am Dm", drums=False)
ROCK = wanted(bpm=150.0, meter="4/4", key="C major", chords="C F G", drums=True)


def played(each: Wanted, **different: object) -> HeardClip:
    controls = each.controls
    assert controls.key is not None
    told = {
        "tempo": controls.bpm,
        "key": str(controls.key),
        "mode": controls.key.mode,
        "drums": controls.drums,
    }
    return HeardClip(heard(**{**told, **different}), each.score)  # type: ignore[arg-type]


def test_music_with_its_values_has_all_of_them_and_chance_less() -> None:
    clips = [played(WALTZ), played(ROCK)]
    figures = figures_of([WALTZ, ROCK], clips, clips)
    values = {name: figure.value for name, figure in figures.items() if name != "pulse"}
    assert values == dict.fromkeys(values, 1.0)
    assert set(figures) >= {"tempo", "downbeats", "meter", "key", "mode", "roots", "triads", "drums", "pulse"}
    assert figures["key"].shuffled == figures["meter"].shuffled == 0.0
    assert figures["downbeats"].shuffled is not None
    assert figures["downbeats"].shuffled < 0.5


def test_what_is_wrong_is_counted_where_it_is_wrong() -> None:
    off = played(ROCK, tempo=75.0, key="A minor", mode="minor")
    late = HeardClip(off.heard, ROCK.score.later(0.2))
    figures = figures_of([WALTZ, ROCK], [played(WALTZ), late], [played(WALTZ), played(ROCK)])
    values = {name: figure.value for name, figure in figures.items()}
    assert values["tempo"] == values["key"] == values["mode"] == values["downbeats"] == 0.5
    assert values["octave"] == values["drums"] == values["meter"] == 1.0
    assert 0.5 < values["roots"] < 1.0
    assert figures["tempo"].ceiling == 1.0


def test_what_is_asked_for_is_what_the_pieces_are() -> None:
    (piece,) = wanted_clips(1, 8.0, seed=0)
    assert piece.sound.seconds == 8.0
    assert piece.score.seconds == 8.0
    assert piece.controls.bpm is not None
    gaps = [b.at - a.at for a, b in zip(piece.score.beats, piece.score.beats[1:], strict=False)]
    assert gaps == pytest.approx([60 / piece.controls.bpm] * len(gaps))


@pytest.mark.slow
def test_a_model_is_measured_and_one_without_a_listener_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle, out = make_bundle(tmp_path / "made", score=True), tmp_path / "values"
    words = ["--clips", "2", "--seconds", "8", "--out", str(out)]
    main(["evaluate", "values", "--bundle", str(bundle), *words])
    shown = capsys.readouterr().out
    assert "bpm ±4 %" in shown
    written = json.loads((out / "values.json").read_text())
    assert written["clips"] == 2
    assert written["bundle"]["name"] == str(bundle)
    plain = make_bundle(tmp_path / "plain")
    for bad in (["--bundle", str(plain)], ["--bundle", str(bundle), "--clips", "1"], ["--seconds", "3"]):
        with pytest.raises(SystemExit) as stop:
            main(["evaluate", "values", *words, *bad])
        assert stop.value.code == 2
