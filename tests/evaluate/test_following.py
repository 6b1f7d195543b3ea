"""Following: music that plays the guide's tune is told from music that does not, whatever else sounds."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from musiclm import Audio, MusicLM
from musiclm.corpus.melodies import TABLE_NAME, table_of
from musiclm.corpus.songbook import SONGBOOK
from musiclm.corpus.table import is_held_out
from musiclm.evaluate.following import chroma_cosines, following, held_out_guides, summary
from tests.tiny import SAMPLE_RATE, melody, tone

HELD_OUT = sorted(tune for tune in SONGBOOK if is_held_out(tune))[:2]


def accompanied(tune: Audio) -> Audio:
    """The tune over a low drone."""
    drone = tone(tune.seconds, pitch=65.4).waveform
    return Audio(0.7 * tune.waveform + 0.6 * drone, SAMPLE_RATE)


def test_the_tune_is_found_over_a_bass() -> None:
    guides = [melody(4.0, seed=seed) for seed in range(3)]
    figures = summary(chroma_cosines(guides, [accompanied(guide) for guide in guides]))
    assert figures["cosine"] > 0.8
    assert figures["margin"] > 0.4


def test_rests_of_the_guide_ask_for_nothing() -> None:
    tune = melody(3.0, seed=0).waveform
    rest = torch.zeros(1, 2 * SAMPLE_RATE)
    guide = Audio(torch.cat([tune, rest], dim=1), SAMPLE_RATE)
    filled = Audio(torch.cat([tune, tone(2.0, pitch=370.0).waveform], dim=1), SAMPLE_RATE)
    other = Audio(torch.cat([rest, rest, tune], dim=1)[:, : 5 * SAMPLE_RATE], SAMPLE_RATE)
    same, moved = chroma_cosines([guide], [filled, other])[0].tolist()
    assert same > 0.7
    assert moved < 0.6


@pytest.fixture
def melodies(tmp_path: Path) -> Path:
    """As `musiclm corpus melodies` makes them: two held-out tunes and one known, each by both voices."""
    known = next(tune for tune in SONGBOOK if not is_held_out(tune))
    rows: list[dict[str, Any]] = []
    (tmp_path / "lead").mkdir()
    for number, tune in enumerate([*HELD_OUT, known]):
        for version in ("original", "hum", "whistle"):
            name = f"s0-{number:06d}-{version}"
            silence = torch.zeros(1, SAMPLE_RATE // 2)
            sound = torch.cat([silence, melody(4.5, seed=number).waveform], dim=1)
            Audio(sound, SAMPLE_RATE).save(tmp_path / "lead" / f"{name}.flac")
            rows.append(
                {
                    "id": name, "piece": f"s0-{number:06d}", "version": version,
                    "split": "train" if tune == known else "valid", "tune": tune, "instrument": version,
                    "tempo": 100.0, "lead": f"lead/{name}.flac", "band": "", "seconds": 5.0,
                    "starts": [0.5], "durations": [2.0], "pitches": [60],
                }
            )  # fmt: skip
    (tmp_path / TABLE_NAME).write_bytes(table_of(rows))
    return tmp_path


def test_guides_are_voices_of_held_out_tunes_from_their_first_note_on(melodies: Path) -> None:
    guides = held_out_guides(melodies, 2, 4.0)
    assert {guide.tune for guide in guides} == set(HELD_OUT)
    assert {guide.version for guide in guides} == {"hum", "whistle"}
    for guide in guides:
        assert guide.audio.waveform.shape == (1, 4 * SAMPLE_RATE)
        assert guide.audio.waveform[:, : SAMPLE_RATE // 5].abs().max() > 0.1  # no silence before


def test_too_few_tunes_and_no_melodies_are_one_line(melodies: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expected 3 hums and whistles .*, got 2: render more hours"):
        held_out_guides(melodies, 3, 4.0)
    with pytest.raises(ValueError, match="expected guides of 4 s or more"):
        held_out_guides(melodies, 2, 1.0)
    with pytest.raises(FileNotFoundError, match="expected a folder of `musiclm corpus melodies`"):
        held_out_guides(tmp_path / "nothing", 3, 4.0)


def makes(music: Callable[[Audio], Audio]) -> Callable[..., Any]:
    """A model that makes something of the melody it is given."""

    class Made:
        def generate(self, text: str, *, seconds: float, seed: int, melody: Audio) -> Audio:
            return music(melody)

    return lambda name: Made()


def test_the_command_fails_where_the_tune_is_not_followed(
    melodies: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(MusicLM, "from_pretrained", makes(accompanied))
    following(melodies, num=2, seconds=4.0, out=tmp_path / "kept")
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[-2:]] == ["ok", "ok"]
    assert len(list((tmp_path / "kept").glob("*.wav"))) == 4
    monkeypatch.setattr(MusicLM, "from_pretrained", makes(lambda guide: tone(guide.seconds, pitch=369.99)))
    with pytest.raises(SystemExit) as stop:
        following(melodies, num=2, seconds=4.0)
    assert stop.value.code == 1
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[-2:]] == ["SHORT", "SHORT"]
