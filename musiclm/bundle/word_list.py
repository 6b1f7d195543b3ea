"""The words of a part's training captions, in a file beside its weights: `mulan.words.txt`, one a line.

They change nothing that the part computes, and so they are no part of its fingerprint.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

KEY = "words"  # of the file's name in the entry of a part
ENDING = ".words.txt"


def list_of(words: Iterable[str]) -> bytes:
    """The content of the file."""
    return "".join(f"{word}\n" for word in sorted(words)).encode()


def read_list(folder: Path, entry: Mapping[str, Any]) -> frozenset[str]:
    """The words of a part, by its entry in the bundle at `folder`; none where it has no list.

    Raises:
        FileNotFoundError: the file that the entry names is missing.
    """
    if KEY not in entry:
        return frozenset()
    file = folder / entry[KEY]
    if not file.is_file():
        raise FileNotFoundError(f"expected a list of words at {file}, found nothing; get the bundle again")
    return frozenset(file.read_bytes().decode("utf-8", "replace").split())
