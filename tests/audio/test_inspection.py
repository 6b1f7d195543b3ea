"""What a file holds is found out before it is read: content counts and not the name, and what decodes."""

import os
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from musiclm.audio import Audio, inspect
from musiclm.audio.inspection import Stretch
from tests.tiny import noise, tone

RATE = 24_000


def write_wav(path: Path, samples: np.ndarray, *, data_size: int | None = None, rate: int = RATE) -> Path:
    """A 16-bit wav file whose header may say another size than there is."""
    content = (samples * 32767).astype("<i2").tobytes()
    size = len(content) if data_size is None else data_size
    riff = b"RIFF" + struct.pack("<I", (36 + size) & 0xFFFFFFFF) + b"WAVEfmt "
    form = struct.pack("<IHHIIHH", 16, 1, 1, rate, 2 * rate, 2, 16)
    path.write_bytes(riff + form + b"data" + struct.pack("<I", size) + content)
    return path


def samples(seconds: float, rate: int = RATE) -> np.ndarray:
    return tone(seconds, sample_rate=rate).waveform[0].numpy()


def test_what_a_good_file_holds(tmp_path: Path) -> None:
    info = inspect(tone(0.5, sample_rate=44_100).save(tmp_path / "a.wav"))
    assert (info.seconds, info.sample_rate, info.channels, info.warnings) == (0.5, 44_100, 1, ())


@pytest.mark.parametrize(
    ("format", "subtype"),
    [
        *(("WAV", kind) for kind in ("PCM_U8", "PCM_24", "PCM_32", "FLOAT", "ULAW", "ALAW", "IMA_ADPCM")),
        *((kind, "PCM_16") for kind in ("WAVEX", "AIFF", "CAF", "W64", "AU", "RF64", "FLAC", "VOC", "NIST")),
        ("OGG", "VORBIS"),
        ("OGG", "OPUS"),
        ("MP3", "MPEG_LAYER_III"),
    ],
)
@pytest.mark.parametrize("name", ["a.opus", "a.raw", "a"])
def test_the_content_decides_and_not_the_ending(format: str, subtype: str, name: str, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", samples(0.5), RATE, format=format, subtype=subtype)
    path = (tmp_path / "a.wav").rename(tmp_path / name)
    assert inspect(path).seconds == pytest.approx(0.5, abs=0.03)  # IMA_ADPCM comes in blocks
    read = Audio.load_mono(path, RATE).waveform[:, 6_000:11_000]
    torch.testing.assert_close(read, tone(0.5).waveform[:, 6_000:11_000], atol=0.05, rtol=0)  # 8 bits, lossy


@pytest.mark.parametrize(
    "name", [b"mod\xe0.wav", b"nl\nline.wav", b"-dash.wav", b"x" * 240 + b".wav", "日本 🎻.wav".encode()]
)
def test_any_name_is_read(name: bytes, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(name)
    write_wav(path, samples(0.2))
    assert Audio.load(path).seconds == inspect(path).seconds == 0.2


def test_an_error_is_one_printable_line_whatever_the_name(tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"nl\nmod\xe0.wav")
    path.write_text("words")
    with pytest.raises(
        ValueError, match=r"nl\\nmod\\xe0\.wav cannot be read: it is text, not audio$"
    ) as error:
        inspect(path)
    assert str(error.value).isprintable()


def cut(path: Path, share: float) -> Path:
    content = path.read_bytes()
    path.write_bytes(content[: round(share * len(content))])
    return path


@pytest.mark.parametrize(
    ("format", "subtype"),
    [("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("AIFF", "PCM_16"), ("W64", "PCM_16"), ("MP3", "MPEG_LAYER_III")],
)
def test_a_recording_shorter_than_its_header_says_is_cut_and_reported(
    format: str, subtype: str, tmp_path: Path
) -> None:
    sound = noise(10 * RATE)[
        0, 0
    ].numpy()  # which no codec makes small, so that a third of the file is a third
    soundfile.write(tmp_path / "a", sound, RATE, format=format, subtype=subtype)
    info = inspect(cut(tmp_path / "a", 1 / 3))
    assert info.seconds == pytest.approx(10 / 3, abs=0.4)
    assert f"shorter than its header says: {info.seconds:.4g} s of " in " ".join(info.warnings)
    assert Audio.load(tmp_path / "a").seconds == info.seconds
    end = Audio.load_mono(tmp_path / "a", RATE, start=info.seconds - 0.1, seconds=0.1).waveform
    assert end.shape == (1, 2400)
    assert end.square().mean().sqrt() > 0.05  # sound up to the end


def set_flac_length(path: Path, frames: int) -> Path:
    """Let the header of a flac file say another length: 36 bits, 13.5 bytes into its first block."""
    content = bytearray(path.read_bytes())
    content[21] = content[21] & 0xF0 | frames >> 32
    content[22:26] = struct.pack(">I", frames & 0xFFFFFFFF)
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(("said", "seconds"), [(0, 3.0), (600 * RATE, 3.0), (RATE, 1.0)])
def test_a_flac_of_any_stated_length_is_read_as_far_as_it_says_and_goes(
    said: int, seconds: float, tmp_path: Path
) -> None:
    soundfile.write(tmp_path / "a.flac", noise(3 * RATE)[0, 0].numpy(), RATE)
    path = set_flac_length(tmp_path / "a.flac", said)
    assert inspect(path).seconds == Audio.load(path).seconds == seconds
    assert len(inspect(path).warnings) == (said != 0)  # 0: it was not known


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x80000000, 0x7FFFFFFF])
def test_a_wav_that_was_written_to_a_pipe_is_read_whole(size: int, tmp_path: Path) -> None:
    info = inspect(write_wav(tmp_path / "a.wav", samples(0.5), data_size=size))
    assert info.seconds == pytest.approx(0.5, abs=1e-4)
    assert info.warnings == ()


def test_a_recording_longer_than_its_header_says_is_reported(tmp_path: Path) -> None:
    info = inspect(write_wav(tmp_path / "a.wav", samples(2.0), data_size=RATE))
    assert info.seconds == 0.5
    assert "its header counts too few" in info.warnings[0]
    write_wav(tmp_path / "b.wav", samples(2.0), data_size=0)
    with pytest.raises(ValueError, match=r"by its header it holds no samples \(the file has 96,044 bytes\)"):
        inspect(tmp_path / "b.wav")


def test_a_damaged_place_is_read_as_silence_and_said(tmp_path: Path) -> None:
    sound = noise(20 * RATE)[0, 0]
    soundfile.write(tmp_path / "a.flac", sound.numpy(), RATE, subtype="PCM_16")
    content = bytearray((tmp_path / "a.flac").read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3000] = bytes(3000)
    (tmp_path / "a.flac").write_bytes(content)
    warnings: list[str] = []
    read = Audio.load_mono(tmp_path / "a.flac", RATE, warn=warnings.append).waveform[0]
    assert len(read) == len(sound)
    differ = (read - sound).abs() > 1e-3
    assert 0 < differ.sum() < RATE
    assert (read[differ] == 0).all()
    assert len(warnings) == 1
    assert warnings[0].startswith("damaged: ")


@pytest.mark.parametrize("rate", [1, 8, 999, 1_000_001, 2_000_000])
def test_a_rate_that_no_recording_has_is_said_to_be_wrong(rate: int, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", samples(0.5), rate=rate)
    with pytest.raises(ValueError, match=f"header says {rate:,} Hz, expected 1,000 to 1,000,000 Hz"):
        inspect(tmp_path / "a.wav")
    with pytest.raises(ValueError, match=f"header says {rate:,} Hz"):
        Audio.load_mono(tmp_path / "a.wav", RATE)


@pytest.mark.parametrize("rate", [1_000, 44_101, 999_983, 1_000_000])
def test_any_other_rate_is_read(rate: int, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", samples(0.2, rate), rate=rate)
    assert Audio.load_mono(tmp_path / "a.wav", RATE).seconds == pytest.approx(0.2, abs=1 / RATE)


@pytest.mark.parametrize("length", [1, 100, 2399])
def test_a_recording_too_short_for_anything_is_said_to_be(length: int, tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", samples(0.2)[1 : 1 + length])
    with pytest.raises(ValueError, match=r"expected a recording of 0\.1 s or more, .*a\.wav lasts"):
        inspect(tmp_path / "a.wav")


def test_what_is_no_file_is_never_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")  # opening it would wait for a writer for ever
    with socket.socket(socket.AF_UNIX) as server:
        here = os.open(tmp_path, os.O_RDONLY)
        server.bind(f"/proc/self/fd/{here}/socket.wav")
        os.close(here)
    (tmp_path / "loop.wav").symlink_to("loop.wav")
    (tmp_path / "broken.wav").symlink_to("nowhere.wav")
    wrong = {
        "pipe.wav": "is a pipe, socket or device",
        "socket.wav": "is a pipe, socket or device",
        "loop.wav": "cannot be read: Too many levels",
        "broken.wav": "found nothing at",
        ".": "is a folder",
    }
    for name, why in wrong.items():
        for read in (inspect, Audio.load, lambda path: Audio.load_mono(path, RATE)):
            with pytest.raises(OSError, match=why):
                read(tmp_path / name)
    with pytest.raises(OSError, match="is a pipe, socket or device"):
        inspect("/dev/zero")


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file_is_said_to_be(tmp_path: Path) -> None:
    write_wav(tmp_path / "a.wav", samples(0.2)).chmod(0)
    with pytest.raises(OSError, match=r"a\.wav cannot be read: Permission denied"):
        inspect(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "it is empty"),
        (b"<html>404</html>", "it is text, not audio"),
        (b"#EXTM3U\nhttp://example.org/a.m4a\n", "it is text, not audio"),
        (bytes(5000), "its content is no audio"),
        (b"\x00\x05\x16\x07" + bytes(4092), "its content is no audio"),
    ],
)
def test_what_is_no_audio_is_told_apart(
    content: bytes, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))  # no ffmpeg
    (tmp_path / "a.mp3").write_bytes(content)
    with pytest.raises(ValueError, match=why):
        inspect(tmp_path / "a.mp3")


def test_what_is_wrong_with_a_long_file_is_found_at_a_few_places(tmp_path: Path) -> None:
    sound = noise(30 * RATE)[0, 0].numpy()
    soundfile.write(tmp_path / "a.wav", 32768 * sound, RATE, subtype="FLOAT")
    soundfile.write(tmp_path / "b.wav", np.stack([sound, -0.9 * sound], axis=1), RATE)
    assert "where 1 is full scale" in inspect(tmp_path / "a.wav").warnings[0]
    assert "opposite phase" in inspect(tmp_path / "b.wav").warnings[0]
    for name in ("a.wav", "b.wav"):
        part = Audio.load_mono(tmp_path / name, RATE, start=7.0, seconds=0.5).waveform[0].numpy()
        np.testing.assert_allclose(part, sound[7 * RATE :][:12_000], atol=1e-4)


def test_broken_samples_are_mended_wherever_they_are(tmp_path: Path) -> None:
    sound = noise(30 * RATE)[0, 0].numpy()
    sound[100_000:100_010] = np.nan  # where nothing is looked at
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    assert inspect(tmp_path / "a.wav").warnings == ()
    warnings: list[str] = []
    assert Audio.load_mono(tmp_path / "a.wav", RATE, warn=warnings.append).waveform.isfinite().all()
    assert "NaN" in warnings[0]
    sound[100_000:110_000] = np.nan
    soundfile.write(tmp_path / "a.wav", sound, RATE, subtype="FLOAT")
    with pytest.raises(ValueError, match="more than 1 % of its samples are NaN"):
        Audio.load_mono(tmp_path / "a.wav", RATE)


def test_a_file_that_has_changed_is_looked_at_again(tmp_path: Path) -> None:
    assert inspect(tone(0.5).save(tmp_path / "a.wav")).seconds == 0.5
    assert inspect(tone(0.7).save(tmp_path / "a.wav")).seconds == 0.7


def test_many_channels_take_no_more_memory_than_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("musiclm.audio.inspection.BLOCK", 1024)
    soundfile.write(tmp_path / "a.wav", np.zeros((5_000, 64)), RATE)
    sizes = [block.size for block in Stretch.of(tmp_path / "a.wav", 0.0, None).blocks()]
    assert max(sizes) == 1024
    assert sum(sizes) == 64 * 5_000
