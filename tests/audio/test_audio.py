"""Audio: files in and out, and what users do wrong with them."""

import tracemalloc
from pathlib import Path

import pytest
import soundfile
import torch

from musiclm.audio import Audio, check_writable
from tests.tiny import live_bytes, noise, tone


def test_a_saved_wav_comes_back_to_16_bits(tmp_path: Path) -> None:
    audio = tone(0.5)
    again = Audio.load(audio.save(tmp_path / "a.wav"))
    assert again.sample_rate == audio.sample_rate
    assert again.waveform.shape == audio.waveform.shape
    assert (again.waveform - audio.waveform).abs().max() <= 2 / 2**15  # rounding to 16 bits


def test_metadata_travels_inside_the_file(tmp_path: Path) -> None:
    path = tone(0.1).save(tmp_path / "a.wav", {"title": "a calm tone", "comment": "seed 3"})
    with soundfile.SoundFile(path) as file:
        assert (file.title, file.comment) == ("a calm tone", "seed 3")


def test_saving_leaves_one_file_and_nothing_else(tmp_path: Path) -> None:
    tone(0.1).save(tmp_path / "a.flac")
    assert [path.name for path in tmp_path.iterdir()] == ["a.flac"]


def test_a_failed_save_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="metadata fields"):
        tone(0.1).save(tmp_path / "a.wav", {"colour": "blue"})
    with pytest.raises(ValueError, match=r"ending in \.wav"):
        tone(0.1).save(tmp_path / "a.text")
    assert list(tmp_path.iterdir()) == []


def test_a_stretch_of_a_file_is_that_stretch(tmp_path: Path) -> None:
    audio = tone(1.0)
    path = audio.save(tmp_path / "a.wav")
    part = Audio.load(path, start=0.25, seconds=0.5)
    assert part.waveform.shape == (1, 12_000)
    torch.testing.assert_close(part.waveform, audio.waveform[:, 6_000:18_000], atol=1e-4, rtol=0)
    assert Audio.load(path, start=5.0, seconds=1.0).waveform.shape == (1, 0)


def test_resampling_keeps_the_pitch_and_the_length() -> None:
    audio = tone(1.0, pitch=1000.0).resample(16_000)
    assert audio.waveform.shape == (1, 16_000)
    spectrum = torch.fft.rfft(audio.waveform[0]).abs()
    assert int(spectrum.argmax()) == 1000


def test_mono_is_the_mean_of_the_channels() -> None:
    stereo = Audio(torch.tensor([[1.0, 0.0], [0.0, 0.0]]), 24_000)
    assert stereo.mono().waveform.tolist() == [[0.5, 0.0]]


def test_bad_files_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="found nothing"):
        Audio.load(tmp_path / "none.wav")
    (tmp_path / "text.wav").write_text("not audio")
    with pytest.raises(ValueError, match="cannot be read"):
        Audio.load(tmp_path / "text.wav")
    with pytest.raises(ValueError, match=r"\[C, L\]"):
        Audio(torch.zeros(3), 24_000)


def test_places_that_cannot_be_written_are_told_before_the_work(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="existing folder"):
        check_writable(tmp_path / "none" / "a.wav")
    with pytest.raises(IsADirectoryError):
        check_writable(tmp_path)
    check_writable(tmp_path / "a.wav")


@pytest.mark.parametrize(
    ("rate", "channels"), [(44_100, 2), (24_000, 1), (48_000, 2), (16_000, 1), (11_025, 3)]
)
def test_a_file_read_by_blocks_is_the_file_read_at_once(
    rate: int, channels: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musiclm.audio.inspection.BLOCK", 4096)
    generator = torch.Generator().manual_seed(0)
    samples = 0.3 * torch.randn(50_001, channels, generator=generator)
    soundfile.write(tmp_path / "a.wav", samples.numpy(), rate, subtype="FLOAT")
    whole = Audio.load(tmp_path / "a.wav").mono().resample(24_000)
    blocks = Audio.load_mono(tmp_path / "a.wav", 24_000)
    assert blocks.sample_rate == 24_000
    torch.testing.assert_close(blocks.waveform, whole.waveform, rtol=0, atol=1e-6)  # order of summation


@pytest.mark.parametrize("length", [1, 2, 4096, 5000, 5001])
def test_a_file_of_any_length_is_read_by_blocks(
    length: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musiclm.audio.inspection.BLOCK", 100)
    soundfile.write(tmp_path / "a.wav", noise(length)[0, 0].numpy(), 44_100, subtype="FLOAT")
    whole = Audio.load(tmp_path / "a.wav").resample(24_000)
    blocks = Audio.load_mono(tmp_path / "a.wav", 24_000)
    torch.testing.assert_close(blocks.waveform, whole.waveform, rtol=0, atol=1e-6)


def test_reading_by_blocks_holds_a_block_and_the_outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("musiclm.audio.inspection.BLOCK", 2**13)
    soundfile.write(tmp_path / "a.flac", torch.zeros(48_000 * 10, 2).numpy(), 48_000)  # 3.8 MB as float32
    Audio.load_mono(tmp_path / "a.flac", 24_000)  # what is imported at the first call is not counted
    tracemalloc.start()
    live = live_bytes(lambda: Audio.load_mono(tmp_path / "a.flac", 24_000))
    read = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    outcome = 24_000 * 10 * 4  # bytes
    assert read + live < outcome + 1e6


def test_what_is_no_audio_is_refused_by_blocks_too(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_text("words")
    with pytest.raises(ValueError, match="cannot be read"):
        Audio.load_mono(tmp_path / "a.wav", 24_000)
    with pytest.raises(FileNotFoundError, match="found nothing"):
        Audio.load_mono(tmp_path / "b.wav", 24_000)
