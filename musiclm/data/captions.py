"""Captions in a file beside a recording, as people have them.

For `song.mp3`: `song.txt` or `song_prompt.txt`, a caption a line in any encoding; or `song.json`, a text or
an object that has them under one of the usual names, as AudioCraft's `description`.
"""

import codecs
import json
from pathlib import Path
from typing import Any

MAX_BYTES = 2**20  # a longer file is something else
MAX_CONTROLS = 0.1  # of the characters: with more of them it is no text
BYTE_ORDER_MARKS = (  # UTF-32's begins with UTF-16's
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
BESIDE = (".txt", "_prompt.txt", ".json")  # in place of a recording's ending; the first that is there counts
KEYS = ("captions", "caption", "text", "description", "prompt")  # of an object of JSON


def read_captions(recording: Path) -> tuple[str, ...]:
    """The captions beside a recording; none where there is no such file.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is no text.
    """
    file = captions_file(recording)
    return read_sidecar(file) if file.is_file() else ()


def captions_file(recording: Path) -> Path:
    """Where a recording's captions are, or would be looked for first."""
    files = [recording.with_name(recording.stem + ending) for ending in BESIDE]
    return next((file for file in files if file.is_file()), files[0])


def read_sidecar(file: Path) -> tuple[str, ...]:
    """The captions of a file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no text, or no JSON where its name says so.
    """
    with file.open("rb") as opened:
        raw = opened.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ValueError(f"expected captions, got more than {MAX_BYTES / 1e6:.0f} MB")
    text = decode_text(raw).replace("\0", "")
    if file.suffix.lower() != ".json":
        return captions_in(text.splitlines())
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ValueError("expected JSON with captions") from None
    if isinstance(value, dict):
        value = next((value[key] for key in KEYS if value.get(key)), None)
    return captions_in(value)


def captions_in(value: Any) -> tuple[str, ...]:
    """The captions that a cell or a value of JSON holds: a text, or several; nothing else is one."""
    texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(text.strip() for text in texts if isinstance(text, str) and text.strip())


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
