"""Music with values, plans and scores of other music, as people ask for it on the command line."""

from pathlib import Path

import pytest
import torch
import yaml

from musiclm import Audio
from musiclm.cli import main
from musiclm.score.plan import read_plan
from tests.tiny_model import PROMPT, make_bundle

PLAN = """
bpm: 96
meter: 3/4
key: A minor
sections:
- {chords: Am | E}
- {chords: Dm, bpm: 120}
"""


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(make_bundle(tmp_path_factory.mktemp("score"), score=True))


def made(bundle: str, out: Path, *words: str) -> Audio:
    main(["generate", PROMPT, "--seconds", "2", "--bundle", bundle, "--out", str(out), *words])
    return Audio.load(out)


def refused(capsys: pytest.CaptureFixture[str], words: list[str]) -> str:
    with pytest.raises(SystemExit) as stop:
        main(words)
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert len(error.strip().splitlines()) == 1
    return error


def test_values_change_the_music_and_the_same_values_do_not(bundle: str, tmp_path: Path) -> None:
    values = ("--bpm", "128", "--meter", "3/4", "--key", "F# minor", "--chords", "F#m D", "--drums", "no")
    first, second = (made(bundle, tmp_path / "a.wav", *values), made(bundle, tmp_path / "b.wav", *values))
    other = made(bundle, tmp_path / "c.wav", "--bpm", "90")
    assert first.waveform.equal(second.waveform)
    assert not first.waveform.equal(other.waveform)


def test_a_plan_that_was_saved_makes_the_same_music(bundle: str, tmp_path: Path) -> None:
    plan = tmp_path / "plan.yaml"
    drawn = made(bundle, tmp_path / "a.wav", "--save_plan", str(plan), "--key", "Bb major")
    words = yaml.safe_load(plan.read_text())
    assert words["key"] == "Bb major"
    again = made(bundle, tmp_path / "b.wav", "--plan", str(plan))
    assert drawn.waveform.equal(again.waveform)


def test_a_plan_that_is_written_by_hand_is_followed(bundle: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(PLAN)
    copy = tmp_path / "copy.yaml"
    made(bundle, tmp_path / "a.wav", "--plan", str(tmp_path / "mine.yaml"), "--save_plan", str(copy))
    assert read_plan(copy) == read_plan(tmp_path / "mine.yaml")


def test_a_list_of_beats_is_followed(bundle: str, tmp_path: Path) -> None:
    (tmp_path / "x.beats").write_text("".join(f"{0.5 * n:.2f} {n % 3 + 1}\n" for n in range(12)))
    followed = made(bundle, tmp_path / "a.wav", "--follow", str(tmp_path / "x.beats"))
    assert not followed.waveform.equal(made(bundle, tmp_path / "b.wav").waveform)


def test_a_recording_is_followed_and_gone_on_from(bundle: str, tmp_path: Path) -> None:
    song = tmp_path / "song.wav"
    click = torch.zeros(1, 6 * 24_000)
    click[:, ::12_000] = 0.9
    Audio((click + 0.2 * torch.sin(torch.arange(click.shape[1]) * 0.1)).clamp(-1, 1), 24_000).save(song)
    followed = made(bundle, tmp_path / "a.wav", "--follow", str(song), "--only", "beats,drums")
    assert followed.seconds == 2
    main(
        [
            "generate",
            "--continue",
            str(song),
            "--seconds",
            "2",
            "--bundle",
            bundle,
            "--out",
            str(tmp_path / "b.wav"),
        ]
    )
    assert Audio.load(tmp_path / "b.wav").seconds == 8


def test_sections_of_a_story_have_values_of_their_own(bundle: str, tmp_path: Path) -> None:
    story = tmp_path / "story.yaml"
    sounds = []
    for bpm in (90, 180):
        sections = [
            {"at": 0, "text": PROMPT, "bpm": 120, "meter": "4/4"},
            {"at": 2, "text": PROMPT, "bpm": bpm, "drums": True},
        ]
        story.write_text(yaml.safe_dump({"seconds": 4, "story": sections}))
        main(["story", str(story), "--bundle", bundle, "--out", str(tmp_path / "out.wav")])
        sounds.append(Audio.load(tmp_path / "out.wav").waveform)
    assert sounds[0][:, :24_000].equal(sounds[1][:, :24_000])
    assert not sounds[0].equal(sounds[1])


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--bpm", "900"], "40 to 240"),
        (["--bpm", "fast"], "number"),
        (["--meter", "waltz"], "3/4"),
        (["--meter", "1/4"], "2 to 16"),
        (["--key", "H major"], "A minor"),
        (["--chords", "Am X"], "Bbmaj7"),
        (["--chords", ""], "Am F C G"),
        (["--drums", "maybe"], "yes, no"),
        (["--plan", "nowhere.yaml"], "nothing at nowhere.yaml"),
        (["--save_plan", "plan.txt"], ".yaml"),
        (["--save_plan", "plan.yaml", "--num", "2"], "--num 2"),
        (["--follow", "nowhere.mid"], "nothing at nowhere.mid"),
        (["--follow", "nowhere.wav"], "nowhere.wav"),
        (["--follow", "x.beats", "--plan", "plan.yaml"], "plan.yaml"),
        (["--only", "melody"], "beats, keys, chords, drums"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    words: list[str], expected: str, bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    assert expected in refused(capsys, ["generate", PROMPT, "--bundle", bundle, "--out", "out.wav", *words])
    assert not list(tmp_path.iterdir())


def test_a_model_that_follows_no_score_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain = str(make_bundle(tmp_path))
    for words in (["--bpm", "120"], ["--save_plan", str(tmp_path / "plan.yaml")]):
        out = ["--seconds", "1", "--out", str(tmp_path / "out.wav")]
        error = refused(capsys, ["generate", PROMPT, "--bundle", plain, *out, *words])
        assert "--bundle" in error or "in words" in error
    assert not (tmp_path / "plan.yaml").exists()
    assert not (tmp_path / "out.wav").exists()
