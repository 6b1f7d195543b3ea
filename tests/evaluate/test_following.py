"""Following: music that plays the guide's tune is told from music that does not, whatever else sounds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from musiclm import Audio, MusicLM
from musiclm.corpus.table import is_held_out
from musiclm.evaluate.following import cosines_with_guides, following, held_out_guides, summary
from tests.tiny import SAMPLE_RATE, melody, tone


def accompanied(tune: Audio) -> Audio:
    """The tune over a low drone."""
    drone = tone(tune.seconds, pitch=65.4).waveform
    return Audio(0.7 * tune.waveform + 0.6 * drone, SAMPLE_RATE)


def test_the_tune_is_found_over_a_bass() -> None:
    guides = [melody(4.0, seed=seed) for seed in range(3)]
    figures = summary(cosines_with_guides(guides, [accompanied(guide) for guide in guides]))
    assert figures["cosine"] > 0.8
    assert figures["margin"] > 0.4


def test_rests_of_the_guide_ask_for_nothing() -> None:
    tune = melody(3.0, seed=0).waveform
    rest = torch.zeros(1, 2 * SAMPLE_RATE)
    guide = Audio(torch.cat([tune, rest], dim=1), SAMPLE_RATE)
    filled = Audio(torch.cat([tune, tone(2.0, pitch=370.0).waveform], dim=1), SAMPLE_RATE)
    other = Audio(torch.cat([rest, rest, tune], dim=1)[:, : 5 * SAMPLE_RATE], SAMPLE_RATE)
    same, moved = cosines_with_guides([guide], [filled, other])[0].tolist()
    assert same > 0.7
    assert moved < 0.6


def test_guides_are_voices_of_held_out_tunes_from_their_first_note_on() -> None:
    guides = held_out_guides(3, 4.0)
    assert all(is_held_out(guide.tune) for guide in guides)
    assert [guide.version for guide in guides] == ["hum", "whistle", "hum"]
    for guide in guides:
        assert guide.audio.waveform.shape == (1, 4 * SAMPLE_RATE)
        assert guide.audio.waveform[:, : SAMPLE_RATE // 2].abs().max() > 0.02  # no silence before
    assert torch.equal(held_out_guides(2, 4.0)[1].audio.waveform, guides[1].audio.waveform)


@pytest.mark.parametrize(("num", "seconds"), [(1, 4.0), (2, 1.0), (2, 40.0), (2, float("nan"))])
def test_guides_that_cannot_be_compared_are_one_line(num: int, seconds: float) -> None:
    with pytest.raises(ValueError, match="expected 2 guides or more of 4 to 25 s, got num"):
        held_out_guides(num, seconds)


def makes(music: Callable[[Audio], Audio]) -> Callable[..., Any]:
    """A model that makes something of the melody it is given."""

    class Made:
        def generate(self, text: str, *, seconds: float, seed: int, melody: Audio) -> Audio:
            return music(melody)

    return lambda name, device: Made()


def test_the_command_fails_where_the_tune_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(MusicLM, "from_pretrained", makes(accompanied))
    following(num=2, seconds=4.0, out=tmp_path / "kept")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["ok", "ok"]
    assert len(list((tmp_path / "kept").glob("*.wav"))) == 4
    monkeypatch.setattr(MusicLM, "from_pretrained", makes(lambda guide: tone(guide.seconds, pitch=369.99)))
    with pytest.raises(SystemExit) as stop:
        following(num=2, seconds=4.0)
    assert stop.value.code == 1
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-2:]] == ["SHORT", "SHORT"]
