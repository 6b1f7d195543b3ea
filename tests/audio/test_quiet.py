"""A decoder's chatter about a broken file stays off the terminal, and what others say does not."""

import os
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import soundfile

from musiclm.audio import Audio, inspect
from musiclm.audio.quiet import quiet_libraries

glibc = pytest.mark.skipif("CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="of the GNU C library")


def broken_mp3(folder: Path) -> Path:
    """An mp3 with noise in its middle, of which mpg123 has much to say."""
    sound = 0.3 * np.random.default_rng(0).standard_normal(240_000)
    soundfile.write(folder / "a.mp3", sound, 24_000, format="MP3", subtype="MPEG_LAYER_III")
    content = bytearray((folder / "a.mp3").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = np.random.default_rng(1).bytes(3000)
    (folder / "a.mp3").write_bytes(content)
    return folder / "a.mp3"


@glibc
def test_a_broken_mp3_says_nothing_on_the_terminal(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = broken_mp3(tmp_path)
    with soundfile.SoundFile(path) as file, suppress(soundfile.LibsndfileError):
        file.read()
    assert capfd.readouterr().err  # else this test shows nothing
    inspect(path)
    Audio.load(path)
    Audio.load_mono(path, 16_000)
    assert capfd.readouterr().err == ""


def test_nothing_of_ours_is_lost(capfd: pytest.CaptureFixture[str]) -> None:
    with quiet_libraries():
        print("from Python", file=sys.stderr, flush=True)
        os.write(2, b"from a descriptor\n")
        subprocess.run([sys.executable, "-c", "import sys; sys.stderr.write('from a child')"], check=True)
    assert capfd.readouterr().err == "from Python\nfrom a descriptor\nfrom a child"


@glibc
def test_the_last_of_several_threads_opens_the_terminal_again(capfd: pytest.CaptureFixture[str]) -> None:
    import ctypes

    library = ctypes.CDLL(None)

    def say(words: bytes) -> None:
        library.fputs(words, ctypes.c_void_p.in_dll(library, "stderr"))

    library.fputs.argtypes = [ctypes.c_char_p, ctypes.c_void_p]
    both, first_left = threading.Barrier(2), threading.Event()

    def other() -> None:
        with quiet_libraries():
            both.wait()
        first_left.set()

    thread = threading.Thread(target=other)
    thread.start()
    with quiet_libraries():
        both.wait()
        first_left.wait()
        say(b"inside")
    thread.join()
    say(b"outside")
    assert capfd.readouterr().err == "outside"
