"""The forms of generation as commands: files, a pipe, and one line for every mistake."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from musiclm import Audio, MusicLM
from musiclm.audio.pcm import wav_header
from musiclm.audit.search import WindowSearch
from musiclm.cli import main
from musiclm.cli.pipe import check_pipe, writing_to_pipe
from musiclm.data.store import TokenStore
from musiclm.generation.story import read_story, read_time
from tests.tiny import SAMPLE_RATE, make_token_store, melody, noise, tone
from tests.tiny_model import OTHER, PROMPT, make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fails(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The one line that a mistake ends with; nothing is left behind."""
    before = set(Path().iterdir())
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert set(Path().iterdir()) == before
    return captured.err


@pytest.fixture
def command(bundle: Path, warm: Path) -> Callable[..., subprocess.Popen[bytes]]:
    """Starts `musiclm generate PROMPT` as a process."""
    words = [warm / "musiclm", "generate", PROMPT, "--bundle", bundle]
    return lambda *more: subprocess.Popen([*words, *more], stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_a_terminated_command_leaves_nothing_half_written(
    command: Callable[..., subprocess.Popen[bytes]],
) -> None:
    with command("--seconds", "600", "--out", "long.wav") as run:
        while not list(Path().iterdir()):
            assert run.poll() is None
            time.sleep(0.01)
        run.terminate()
        _, said = run.communicate(timeout=60)
    assert run.returncode == -signal.SIGTERM
    assert said.decode().splitlines()[-1] == "musiclm generate: stopped"
    assert list(Path().iterdir()) == []


def test_takes_are_written_beside_each_other(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import soundfile

    main(["generate", PROMPT, "--bundle", str(bundle), "--seconds", "1", "--seed", "4", "--num", "3"])
    assert capsys.readouterr().out.split() == ["out-1.wav", "out-2.wav", "out-3.wav"]
    assert sorted(path.name for path in Path().iterdir()) == ["out-1.wav", "out-2.wav", "out-3.wav"]
    assert "seed 6" in soundfile.SoundFile("out-3.wav").comment
    main(
        ["generate", PROMPT, "--bundle", str(bundle), "--seconds", "1", "--seed", "6", "--out", "alone.flac"]
    )
    alone = Audio.load("alone.flac").waveform
    torch.testing.assert_close(Audio.load("out-3.wav").waveform, alone, atol=1e-3, rtol=0)
    words = ["--num", "2", "--keep", "semantic", "--out", "kept.wav"]
    main(["generate", PROMPT, "--bundle", str(bundle), "--seconds", "1", *words])
    assert "seed 0, sound of seed 1" in soundfile.SoundFile("kept-2.wav").comment


def test_a_file_goes_on_from_a_file(bundle: Path) -> None:
    melody(2.0, seed=0).save("clip.wav")
    main(["generate", "--continue", "clip.wav", "--bundle", str(bundle), "--seconds", "1"])
    made, clip = Audio.load("out.wav"), Audio.load("clip.wav")
    assert made.seconds == 3
    untouched = 48_000 - 2_400
    assert torch.equal(made.waveform[:, :untouched], clip.waveform[:, :untouched])


def test_a_story_is_told_by_a_file_or_by_words(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("story.yaml").write_text(
        "seconds: 4\nseed: 3\nout: told.wav\nstory:\n"
        f"- {{at: 0:00, text: {PROMPT}}}\n- {{at: 0:02, text: {OTHER}}}\n"
    )
    main(["story", "story.yaml", "--bundle", str(bundle)])
    words = ["--at", "0:00", PROMPT, "--at", "0:02", OTHER, "--seconds", "4", "--seed", "3"]
    main(["story", *words, "--bundle", str(bundle), "--out", "words.wav"])
    assert capsys.readouterr().out.split() == ["told.wav", "words.wav"]
    told, said = Audio.load("told.wav").waveform, Audio.load("words.wav").waveform
    assert told.shape == (1, 96_000)
    assert torch.equal(told, said)
    main(["story", "story.yaml", "--bundle", str(bundle), "--seconds", "3", "--out", "short.wav"])
    assert Audio.load("short.wav").seconds == 3  # the command line overrules the file
    expected = MusicLM.from_pretrained(bundle).story([(0, PROMPT), (2, OTHER)], seconds=4, seed=3).waveform
    torch.testing.assert_close(told, expected, atol=2 / 2**15, rtol=0)


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("0:15", 15), ("1:15", 75), (75, 75), ("75", 75), ("0:07.5", 7.5), (7.5, 7.5), ("10:00", 600)],
)
def test_times_are_read_as_they_are_written(written: str | float, seconds: float, tmp_path: Path) -> None:
    assert read_time(written) == seconds
    (tmp_path / "story.yaml").write_text(f"- {{at: {written}, text: a}}")
    assert read_story(tmp_path / "story.yaml").sections == [(seconds, "a")]


@pytest.mark.parametrize(
    ("story", "words"),
    [
        ("- {at: 0:00, text: a}\n- {at: 0:30, text: b}\n- {at: 0:15, text: c}", "sections in order"),
        ("- {at: 0:00, text: a}\n- {at: 0:00, text: b}", "sections in order"),
        ("- {at: 0:05, text: a}", "first section of a story to begin at 0:00"),
        ("seconds: 20\nstory:\n- {at: 0:00, text: a}\n- {at: 0:30, text: b}", "before the end at 20 s"),
        ("- {at: 0:00, text: a}\n- {at: 9:59, text: b}", "at most 600, got 614"),
        ("- {at: 0:00}", "expected sections such as"),
        ("- {at: 0:00, text: ''}", "empty prompt"),
        ("- {at: 0:00, text: 7}", "prompt of words, got 7"),
        ("- {at: soon, text: a}", "a time such as 0:15"),
        ("- {at: 0:75, text: a}", "a time such as 0:15"),
        ("- {at: -3, text: a}", "begin at 0:00"),
        ("- {at: .nan, text: a}", "a time such as 0:15"),
        ("[]", "a list of sections"),
        ("hello", "a list of sections"),
        ("", "a list of sections"),
        ("{a: [", "expected a story as YAML"),
        ("speed: 3\nstory:\n- {at: 0, text: a}", "got speed"),
        ("seed: x\nstory:\n- {at: 0, text: a}", "whole number"),
        ("seconds: long\nstory:\n- {at: 0, text: a}", "a time such as"),
    ],
)
def test_a_story_that_cannot_be_told_is_one_line(
    story: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("story.yaml").write_text(story)
    assert words in fails(capsys, "story", "story.yaml")


def test_a_story_needs_one_source(capsys: pytest.CaptureFixture[str]) -> None:
    assert "expected a story: a YAML file, or --at" in fails(capsys, "story")
    assert "expected a story" in fails(capsys, "story", "x.yaml", "--at", "0:00", "a")
    assert "found nothing at x.yaml" in fails(capsys, "story", "x.yaml")
    Path("binary.yaml").write_bytes(b"\xff\xfe\x00")
    assert "cannot be read" in fails(capsys, "story", "binary.yaml")


@pytest.mark.parametrize("form", ["--continue", "--melody"])
def test_recordings_that_no_form_can_use_are_refused_in_one_line(
    form: str, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", PROMPT, "--bundle", str(bundle), form]
    tone(0.2).save("short.wav")
    assert "1 to 60" in fails(capsys, *words, "short.wav")
    Path("text.wav").write_text("this is no audio")
    assert "expected an audio file, but text.wav cannot be read" in fails(capsys, *words, "text.wav")
    assert "found nothing at none.wav" in fails(capsys, *words, "none.wav")
    Audio(torch.zeros(1, 7200 * 1000), 1000).save("hours.wav")
    assert "got 7200 s: cut it first" in fails(capsys, *words, "hours.wav")
    Audio(torch.zeros(1, 48_000), SAMPLE_RATE).save("silence.wav")
    said = fails(capsys, *words, "silence.wav")
    assert ("it is silent" if form == "--continue" else "has no melody") in said


@pytest.mark.parametrize("form", ["--continue", "--melody"])
def test_what_is_no_regular_file_is_refused_and_never_waited_for(
    form: str, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["generate", PROMPT, "--bundle", str(bundle), form]
    os.mkfifo("pipe.wav")
    assert "pipe.wav is a pipe, socket or device" in fails(capsys, *words, "pipe.wav")
    Path("folder.wav").mkdir()
    assert "folder.wav is a folder" in fails(capsys, *words, "folder.wav")
    Path("nl\nmod.wav").write_bytes(bytes(100))
    assert "nl\\nmod.wav cannot be read" in fails(capsys, *words, "nl\nmod.wav")


def test_a_fault_of_a_recording_that_is_used_is_one_line(
    bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sound = tone(2.0).waveform
    Audio(torch.cat([sound, -0.9 * sound]), SAMPLE_RATE).save("clip.wav")
    main(["generate", "--bundle", str(bundle), "--continue", "clip.wav", "--seconds", "0.5"])
    said = [line for line in capsys.readouterr().err.splitlines() if "opposite phase" in line]
    assert len(said) == 1
    assert said[0].startswith("musiclm generate: recording to continue: channels in opposite phase")


def test_a_bundle_without_a_melody_part_says_so(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tone(2.0).save("hum.wav")
    said = fails(capsys, "generate", PROMPT, "--bundle", str(bundle), "--melody", "hum.wav")
    assert (
        "expected a bundle with the components melody_embedding and melody_quantizer to follow a melody"
        in said
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["a tune", "--num", "0"], "1 to 16 samples"),
        (["a tune", "--num", "17"], "1 to 16 samples"),
        (["a tune", "--num", "2", "--out", "-"], "one sample for standard output"),
        (["a tune", "--keep", "coarse"], "semantic"),
        (["a tune", "--seconds", "601"], "at most 600"),
        (["a tune", "--format", "mp3"], "mp3"),
        (["a tune", "--continue", "a.wav", "--melody", "b.wav"], "give one"),
        (["a tune", "--guard", "tokens", "--guard_tries", "0"], "guard_tries of 1 or more"),
        (["a tune", "--guard", "no-such-store"], "no-such-store"),
        ([], "empty prompt"),
    ],
)
def test_what_cannot_be_combined_is_one_line(
    words: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert said in fails(capsys, "generate", *words)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A token store whose guard has its index and takes nothing for a copy."""
    folder = tmp_path_factory.mktemp("store") / "tokens"
    make_token_store(folder)
    folder_of_index = WindowSearch.open(TokenStore(folder)).folder
    assert folder_of_index is not None
    (folder_of_index / "threshold.json").write_text('{"threshold": 0.0}')
    return folder


@pytest.fixture
def suspicious(store: Path, tmp_path: Path) -> Path:
    """The same, but it takes everything for one."""
    folder = Path(shutil.copytree(store, tmp_path.parent / f"{tmp_path.name}-suspicious"))
    (folder / "search" / "threshold.json").write_text('{"threshold": 1e9}')
    return folder


GUARDED = {
    "words": ["generate", PROMPT],
    "takes": ["generate", PROMPT, "--num", "2"],
    "sounds": ["generate", PROMPT, "--num", "2", "--keep", "semantic"],
    "continuation": ["generate", "--continue", "clip.flac"],
    "story": ["story", "--at", "0:00", PROMPT, "--at", "0:02", OTHER],
}


@pytest.mark.parametrize("form", GUARDED)
def test_every_form_is_guarded(
    form: str, bundle: Path, store: Path, suspicious: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import soundfile

    melody(1.0, seed=0).save("clip.flac")
    words = [*GUARDED[form], "--bundle", str(bundle), "--seconds", "5"]
    assert "as near as a copy to piece" in fails_at_the_end(capsys, *words, "--guard", str(suspicious))
    main(words)
    alone = {file: Audio.load(file).waveform for file in capsys.readouterr().out.split()}
    main([*words, "--guard", str(store)])
    out, said = capsys.readouterr()
    assert out.split() == list(alone)
    assert said.count("guard: ") == len(alone)
    for file, waveform in alone.items():
        assert torch.equal(Audio.load(file).waveform, waveform)
        assert "no nearer than unrelated music to piece" in soundfile.SoundFile(file).comment


def fails_at_the_end(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """The last line of a command that fails after work that it has told of; it leaves no file behind."""
    before = set(Path().iterdir())
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    assert stop.value.code == 2
    out, said = capsys.readouterr()
    assert out == ""
    assert set(Path().iterdir()) == before
    return said.splitlines()[-1]


def test_a_pipe_gets_nothing_before_all_has_passed_the_guard(
    bundle: Path, store: Path, suspicious: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["generate", PROMPT, "--bundle", str(bundle), "--seconds", "5", "--out", "-", "--format", "raw"]
    heard = {}
    for guard in (None, store, suspicious):
        written = io.BytesIO()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", io.TextIOWrapper(written))
            if guard is suspicious:
                with pytest.raises(SystemExit):
                    main([*words, "--guard", str(guard)])
            else:
                main(words if guard is None else [*words, "--guard", str(guard)])
            heard[guard] = written.getvalue()
    assert heard[suspicious] == b""
    assert heard[store] == heard[None]
    assert len(heard[store]) == 2 * 5 * SAMPLE_RATE


def test_noise_and_stereo_at_96_khz_can_be_continued(bundle: Path) -> None:
    Audio(noise(2 * 96_000, batch=2)[:, 0], 96_000).save("noise.wav")
    main(["generate", "--continue", "noise.wav", "--bundle", str(bundle), "--seconds", "0.5"])
    assert Audio.load("out.wav").waveform.shape == (1, 60_000)


def test_a_pipe_carries_what_a_file_would_hold_and_nothing_else(
    bundle: Path, command: Callable[..., subprocess.Popen[bytes]]
) -> None:
    import io

    import soundfile

    main(["generate", PROMPT, "--bundle", str(bundle), "--seconds", "2.5"])
    expected = soundfile.read("out.wav", dtype="int16")[0]
    raw, said = command("--seconds", "2.5", "--out", "-", "--format", "raw").communicate()
    assert b"Traceback" not in said
    assert np.array_equal(np.frombuffer(raw, "<i2"), expected)
    wav, _ = command("--seconds", "2.5", "--out", "-").communicate()
    assert wav[44:] == raw
    samples, rate = soundfile.read(io.BytesIO(wav), dtype="int16")
    assert rate == SAMPLE_RATE
    assert np.array_equal(samples, expected)
    assert sorted(path.name for path in Path().iterdir()) == ["out.wav"]


def test_a_reader_that_leaves_ends_the_music_without_a_word(
    command: Callable[..., subprocess.Popen[bytes]],
) -> None:
    with command("--seconds", "600", "--out", "-") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.read(4) == b"RIFF"
        process.stdout.close()
        said = process.stderr.read()
    assert process.returncode == -signal.SIGPIPE
    assert b"rror" not in said


def test_nothing_is_written_before_there_is_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written))
    with writing_to_pipe(SAMPLE_RATE, 3) as write:
        assert written.getvalue() == b""
        write(torch.zeros(1, 1))
        write(torch.zeros(1, 2))
        assert written.getvalue() == wav_header(SAMPLE_RATE, 3) + bytes(6)
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(ValueError, match="standard output is closed"):
        check_pipe()


def test_an_interrupt_leaves_one_word_and_no_file(
    command: Callable[..., subprocess.Popen[bytes]],
) -> None:
    process = command("--seconds", "600", "--num", "2")
    while not list(Path().glob(".out-2.*.tmp.wav")):
        assert process.poll() is None
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == -signal.SIGINT
    assert said.splitlines()[-1] == b"musiclm generate: stopped"
    assert b"Traceback" not in said
    assert list(Path().iterdir()) == []


def test_sound_is_not_written_to_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert "expected a pipe behind --out -" in fails(capsys, "generate", "a tune", "--out", "-")
