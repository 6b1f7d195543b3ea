"""Captions in a text file beside a recording, `song.txt` for `song.wav`: one a line, in any encoding."""

import codecs
from pathlib import Path

MAX_BYTES = 2**20  # a longer file is something else
MAX_CONTROLS = 0.1  # of the characters: with more of them it is no text
BYTE_ORDER_MARKS = (  # UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)


def read_captions(recording: Path) -> tuple[str, ...]:
    """The captions beside a recording; none where there is no such file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no text.
    """
    file = captions_file(recording)
    if not file.is_file():
        return ()
    with file.open("rb") as opened:
        raw = opened.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ValueError(f"expected captions, got more than {MAX_BYTES / 1e6:.0f} MB")
    lines = decode_text(raw).replace("\0", "").splitlines()
    return tuple(line.strip() for line in lines if line.strip())


def captions_file(recording: Path) -> Path:
    """Where a recording's captions are looked for."""
    return recording.with_suffix(".txt")


def decode_text(raw: bytes) -> str:
    """Text in UTF-8, UTF-16 or UTF-32, or else in Windows' Western code page, 1252.

    Raises:
        ValueError: it is none of these.
    """
    for encoding in _encodings(raw):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if sum(
            not (each.isprintable() or each.isspace() or each == "\0") for each in text
        ) > MAX_CONTROLS * len(text):
            break
        return text
    raise ValueError("expected text as captions, in UTF-8, UTF-16 or code page 1252")


def _encodings(raw: bytes) -> tuple[str, ...]:
    for mark, encoding in BYTE_ORDER_MARKS:
        if raw.startswith(mark):
            return (encoding,)
    # Western text in UTF-16 has a zero in every second byte.
    low, high = raw[::2].count(0), raw[1::2].count(0)
    if max(low, high) > len(raw) / 4:
        return ("utf-16-le",) if high > low else ("utf-16-be",)
    return ("utf-8", "cp1252")
