"""What libsndfile does not know, ffmpeg decodes: here a fake one, and the real one where it is installed."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from musiclm.audio import Audio, inspect
from tests.tiny import noise, tone

M4A = b"\x00\x00\x00\x18ftypM4A " + bytes(500)  # how such a file begins; the fake one does not look further
RATE = 22_050
SOUND = noise(3 * RATE)[0, 0].numpy()

# Writes an AU file of what is in sound.f32, from the second that -ss names, and notes how it was called.
FAKE = f"""#!{sys.executable} -S
import os, sys, struct, time
here = os.path.dirname(os.path.abspath(__file__))
given = sys.argv[1:]
with open(here + "/calls", "ab") as calls:
    calls.write(b"%d %s\\n" % (os.getpid(), os.fsencode(" ".join(given))))
start = round(float(given[given.index("-ss") + 1]) * {RATE}) if "-ss" in given else 0
sys.stdout.buffer.write(struct.pack(">4sIIIII", b".snd", 28, 0xffffffff, 6, {RATE}, 2) + bytes(4))
sys.stdout.buffer.write(open(here + "/sound.f32", "rb").read()[8 * start:])
"""


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a program `ffmpeg` that comes first on PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    stereo = np.stack([SOUND, SOUND], axis=1)  # [L, 2]
    (folder / "sound.f32").write_bytes(stereo.astype(">f4").tobytes())
    install(folder, FAKE)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return folder


def install(folder: Path, program: str) -> None:
    (folder / "ffmpeg").write_text(program)
    (folder / "ffmpeg").chmod(0o755)


def m4a(folder: Path, name: str = "a.m4a") -> Path:
    (folder / name).write_bytes(M4A)
    return folder / name


def test_a_foreign_file_is_read_by_ffmpeg(fake: Path, tmp_path: Path) -> None:
    info = inspect(m4a(tmp_path))
    assert (info.seconds, info.sample_rate, info.channels, info.warnings) == (3.0, RATE, 2, ())
    assert np.array_equal(Audio.load(tmp_path / "a.m4a").waveform[1].numpy(), SOUND)
    assert np.allclose(Audio.load_mono(tmp_path / "a.m4a", RATE).waveform[0].numpy(), SOUND, atol=1e-7)


def test_a_stretch_of_it_is_decoded_from_where_it_begins(fake: Path, tmp_path: Path) -> None:
    part = Audio.load(m4a(tmp_path), start=2.0, seconds=0.5).waveform[0].numpy()
    assert np.array_equal(part, SOUND[2 * RATE :][: RATE // 2])
    assert "-ss 2.000000" in (fake / "calls").read_text().splitlines()[-1]


@pytest.mark.parametrize("name", ["-dash.m4a", "http:a.m4a", "nl\nline.m4a"])
def test_a_name_is_no_option_and_no_address(name: str, fake: Path, tmp_path: Path) -> None:
    inspect(m4a(tmp_path, name))
    call = (fake / "calls").read_text()
    assert f"-protocol_whitelist file -i file:{tmp_path}/{name} " in call


def test_without_ffmpeg_its_lack_is_the_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ValueError, match=r"a\.m4a cannot be read: MPEG-4 .* needs ffmpeg, which is not installed"
    ):
        inspect(m4a(tmp_path))


def test_what_ffmpeg_cannot_read_is_refused_with_its_words(fake: Path, tmp_path: Path) -> None:
    install(fake, "#!/bin/sh\necho '[mov @ 0x55b4a8d] moov atom not found' >&2\nexit 1\n")
    with pytest.raises(
        ValueError, match=r"a\.m4a cannot be read: ffmpeg finds no sound in it: moov atom not found$"
    ):
        inspect(m4a(tmp_path))
    install(fake, "#!/bin/sh\necho words of another program, long enough for a header\n")
    with pytest.raises(ValueError, match="ffmpeg answers in an unknown form"):
        inspect(m4a(tmp_path))


def test_what_ffmpeg_complains_of_is_passed_on(fake: Path, tmp_path: Path) -> None:
    install(fake, FAKE + "sys.stderr.write('[mov @ 0x55b4a8d] partial file\\n')\n")
    assert inspect(m4a(tmp_path)).warnings == ("ffmpeg: partial file",)


def test_an_ffmpeg_that_is_stuck_is_ended(
    fake: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musiclm.audio.ffmpeg.PATIENCE", 0.3)
    install(fake, FAKE + "sys.stdout.flush(); time.sleep(600)\n")
    began = time.monotonic()
    with pytest.raises(OSError, match=r"a\.m4a cannot be read: ffmpeg gave nothing for 0\.3 s"):
        inspect(m4a(tmp_path))
    assert time.monotonic() - began < 60
    ended(fake)


def test_an_ffmpeg_whose_file_is_not_read_to_its_end_is_ended(fake: Path, tmp_path: Path) -> None:
    inspect(m4a(tmp_path))
    install(fake, FAKE + "sys.stdout.flush(); time.sleep(600)\n")
    assert Audio.load(tmp_path / "a.m4a", seconds=0.1).seconds == 0.1
    ended(fake)


def ended(folder: Path) -> None:
    """No process that was started as ffmpeg is alive."""
    for line in (folder / "calls").read_text().splitlines():
        with pytest.raises(ProcessLookupError):
            os.kill(int(line.split()[0]), 0)


def test_what_libsndfile_reads_never_asks_for_ffmpeg(fake: Path, tmp_path: Path) -> None:
    inspect(tone(0.2).save(tmp_path / "a.wav").rename(tmp_path / "a.m4a"))
    (tmp_path / "list.m4a").write_text("#EXTM3U\nhttp://example.org/a.m4a\n")
    with pytest.raises(ValueError, match="it is text"):
        inspect(tmp_path / "list.m4a")
    assert not (fake / "calls").exists()


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
@pytest.mark.parametrize("ending", ["m4a", "wma", "aac", "mka", "wv", "tta"])
def test_the_real_ffmpeg_reads_what_it_has_written(ending: str, tmp_path: Path) -> None:
    source = tone(1.0, sample_rate=44_100).save(tmp_path / "a.wav")
    command = ["ffmpeg", "-nostdin", "-v", "error", "-i", source, "-strict", "-2", tmp_path / f"a.{ending}"]
    subprocess.run(command, check=True)
    info = inspect(tmp_path / f"a.{ending}")
    assert info.seconds == pytest.approx(1.0, abs=0.1)  # codecs pad
    assert (info.sample_rate, info.warnings) == (44_100, ())
    part = Audio.load_mono(tmp_path / f"a.{ending}", 24_000, start=0.3, seconds=0.4).waveform
    spectrum = torch.fft.rfft(part[0]).abs()
    assert float(spectrum.argmax()) / 0.4 == pytest.approx(440, abs=3)
