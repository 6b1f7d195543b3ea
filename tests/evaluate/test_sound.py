"""`musiclm evaluate sound` hears what is wrong, and measures what can be measured."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from musiclm.audio import Audio
from musiclm.cli import main
from musiclm.evaluate.found import Found
from musiclm.evaluate.sound import measure, measure_folder
from musiclm.evaluate.summary import Summary
from tests.tiny import SAMPLE_RATE, melody


def soft(seconds: float, *, seed: int) -> Audio:
    """A melody whose notes end softly: cut off, they click."""
    audio = melody(seconds, seed=seed)
    place = torch.arange(audio.waveform.shape[1]) / (0.25 * SAMPLE_RATE) % 1  # in a note
    return Audio(audio.waveform * torch.sin(math.pi * place).sqrt(), SAMPLE_RATE)


def clips(folder: Path, count: int, *, first_seed: int = 0) -> Path:
    folder.mkdir()
    for index in range(count):
        soft(3.0, seed=first_seed + index).save(folder / f"clip{index}.wav")
    return folder


def noisy(audio: Audio) -> Audio:
    """Quieter, behind noise, with a click every half second."""
    generator = torch.Generator().manual_seed(0)
    waveform = 0.1 * audio.waveform + 0.02 * torch.randn(audio.waveform.shape, generator=generator)
    waveform[:, 6_000::12_000] += 0.9
    return Audio(waveform.clamp(-1, 1), audio.sample_rate)


def run(*words: object) -> None:
    main(["evaluate", "sound", *map(str, words)])


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return clips(tmp_path_factory.mktemp("sound") / "reference", 5)


@pytest.fixture(scope="module")
def found(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is said of a folder of three noisy clips, and of files that cannot be measured."""
    folder = clips(tmp_path_factory.mktemp("sound") / "generated", 3, first_seed=10)
    for path in folder.glob("*.wav"):
        noisy(Audio.load(path)).save(path)
    Audio(torch.zeros(1, 3 * SAMPLE_RATE), SAMPLE_RATE).save(folder / "silent.wav")
    melody(1.0, seed=0).save(folder / "short.wav")
    (folder / "broken.wav").write_bytes(b"RIFF\0\0\0\0WAVEnothing")
    out = folder.parent / "out"
    run(folder, "--reference", reference, "--out", out, "--workers", 1)
    report: dict[str, Any] = json.loads((out / "sound.json").read_text())
    report["svg"] = (out / "sound.svg").read_text()
    return report


def test_what_is_wrong_is_heard(found: dict[str, Any]) -> None:
    measures = found["measures"]
    value = {
        name: {side: measures[name][side]["value"] for side in ("generated", "reference")}
        for name in measures
    }
    assert value["clicks"]["generated"] > 60  # of about 120 a minute
    assert value["clicks"]["reference"] == 0
    for better in ("harmonic_to_noise", "on_one_grid"):
        assert value[better]["generated"] < value[better]["reference"]
    assert value["loudness"]["generated"] < value["loudness"]["reference"]


def test_files_that_cannot_be_measured_are_named_and_counted(found: dict[str, Any]) -> None:
    folder = found["folders"]["generated"]
    assert folder["recordings"] == 3
    assert sorted(Path(entry["path"]).name for entry in folder["left_out"]) == [
        "broken.wav", "short.wav", "silent.wav",
    ]  # fmt: skip
    assert folder["sample_rates"] == {"24000": 3}


def test_the_results_say_what_they_are(found: dict[str, Any]) -> None:
    assert found["format"] == 1
    assert found["command"] == "evaluate sound"
    assert found["sample_rate"] == 22_050
    pulse = found["measures"]["pulse"]
    assert pulse["generated"]["low"] is None  # three clips have no interval
    assert pulse["reference"]["low"] <= pulse["reference"]["value"] <= pulse["reference"]["high"]
    assert found["measures"]["loudness_drift"]["reference"]["clips"] == 0  # of three seconds
    assert set(found["folders"]["reference"]["clips"]) == {f"clip{index}" for index in range(5)}
    assert "harmonic to noise (dB)" in found["svg"]
    assert "nan" not in found["svg"]


def test_clips_of_the_same_name_are_compared_by_pitch_class(tmp_path: Path) -> None:
    bass = melody(3.0, seed=0)
    low = Audio(torch.nn.functional.interpolate(bass.waveform[None], scale_factor=2)[0], SAMPLE_RATE)
    other = Audio(low.waveform.flip(1), SAMPLE_RATE)
    low.save(tmp_path / "one.wav")
    other.save(tmp_path / "two.wav")
    assert measure(tmp_path / "one.wav", tmp_path / "one.wav")["accuracy_low"] == 1.0
    assert measure(tmp_path / "one.wav", tmp_path / "two.wav")["accuracy_low"] < 0.6
    assert math.isnan(measure(tmp_path / "one.wav")["accuracy_low"])


@pytest.mark.usefixtures("warm_workers")
def test_several_processes_measure_what_one_does(reference: Path) -> None:
    found = [measure_folder(Found.at([reference]), processes) for processes in (1, 2)]
    assert [list(each) for each in found] == [[f"clip{index}" for index in range(5)]] * 2
    assert str(found[0]) == str(found[1])


def test_of_a_long_recording_the_beginning_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musiclm.evaluate.sound.LONGEST", 2.5)
    audio = soft(4.0, seed=0)
    audio.waveform[:, 3 * SAMPLE_RATE :: 3000] += 0.9
    Audio(audio.waveform.clamp(-1, 1).repeat(2, 1), SAMPLE_RATE).save(tmp_path / "long.wav")  # stereo
    assert measure(tmp_path / "long.wav")["clicks"] == 0
    monkeypatch.setattr("musiclm.evaluate.sound.LONGEST", 10.0)
    assert measure(tmp_path / "long.wav")["clicks"] > 0


def test_the_interval_of_a_median_holds_it() -> None:
    summary = Summary.of([*range(21), math.nan])
    assert (summary.value, summary.clips) == (10, 21)
    assert 5 <= summary.low < 10 < summary.high <= 15


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["none", "--reference", "music"], "found nothing at"),
        (["music", "--reference", "none"], "found nothing at"),
        (["silent", "--reference", "music"], "none can be used"),
        (["music", "--reference", "music", "--workers", "-1"], "expected workers of 0 or more"),
        (["music", "silent", "--reference", "music", "--strict"], "expected every recording to be usable"),
    ],
)
def test_a_mistake_is_one_line(
    words: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    clips(tmp_path / "music", 1)
    (tmp_path / "silent").mkdir()
    Audio(torch.zeros(1, 3 * SAMPLE_RATE), SAMPLE_RATE).save(tmp_path / "silent" / "all.wav")
    with pytest.raises(SystemExit) as stop:
        run(*words)
    assert stop.value.code == 2
    assert said in capsys.readouterr().err.splitlines()[-1]
