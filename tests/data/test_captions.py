"""Captions beside recordings, whatever their encoding."""

from pathlib import Path

import pytest

from musiclm.data.captions import read_captions
from musiclm.data.left_out import Report
from musiclm.data.sources import find_recordings
from tests.tiny import tone


@pytest.mark.parametrize(
    ("raw", "captions"),
    [
        (b"a tune\nein St\xc3\xbcck\n", ("a tune", "ein Stück")),
        (b"\xef\xbb\xbfa calm violin\r\nslow strings\r\n", ("a calm violin", "slow strings")),
        ("a caf\xe9 waltz \u2019".encode("cp1252"), ("a café waltz \u2019",)),
        ("a calm violin\nein Stück".encode("utf-16"), ("a calm violin", "ein Stück")),
        ("a calm violin".encode("utf-16-be"), ("a calm violin",)),
        ("a calm violin".encode("utf-16-le"), ("a calm violin",)),
        ("a calm violin".encode("utf-32"), ("a calm violin",)),
        (b"a violin\0 melody", ("a violin melody",)),
        (b"a violin\rslow strings\r", ("a violin", "slow strings")),
        (b"", ()),
        (b" \n\n\t\n", ()),
    ],
)
def test_captions_are_read_in_any_usual_encoding(
    tmp_path: Path, raw: bytes, captions: tuple[str, ...]
) -> None:
    (tmp_path / "song.txt").write_bytes(raw)
    assert read_captions(tmp_path / "song.wav") == captions


@pytest.mark.parametrize(
    ("raw", "said"), [(bytes(range(1, 32)) * 9, "expected text"), (b"x" * (2**20 + 1), "more than 1 MB")]
)
def test_captions_that_are_no_text_are_left_out_and_their_recording_is_not(
    tmp_path: Path, raw: bytes, said: str
) -> None:
    tone(0.2).save(tmp_path / "song.wav")
    (tmp_path / "song.txt").write_bytes(raw)
    report = Report()
    (recording,) = find_recordings(tmp_path, report)
    assert recording.captions == ()
    (left_out,) = report.left_out
    assert left_out.path.name == "song.txt"
    assert said in left_out.reason
