"""The words of a component's training captions, in a file beside its weights, one a line.

They change nothing that the component computes, and so they are no part of its fingerprint.
"""

from collections.abc import Iterable
from pathlib import Path

KEY = "words"  # of the file's name in the entry of a component
ENDING = ".words.txt"


def list_of(words: Iterable[str]) -> bytes:
    """The content of the file."""
    return "".join(f"{word}\n" for word in sorted(words)).encode()


def read_list(folder: Path, name: str | None) -> frozenset[str]:
    """The words in the file `name` of the bundle at `folder`; none where a component has no list.

    Raises:
        FileNotFoundError: the file that its entry names is missing.
    """
    if name is None:
        return frozenset()
    file = folder / name
    if not file.is_file():
        raise FileNotFoundError(f"expected a list of words at {file}, found nothing; get the bundle again")
    return frozenset(file.read_bytes().decode("utf-8", "replace").split())
