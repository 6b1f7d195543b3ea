"""YAML files as plain data: numbers, words, lists and mappings, and nothing that costs more than it looks."""

from pathlib import Path
from typing import Any

import yaml

try:
    from yaml import CSafeLoader as SafeLoader  # libyaml's: the default model is read in 3 ms, not in 27
except ImportError:
    from yaml import SafeLoader

MOST_BYTES = 2**20  # the model that ships has 9 kB
MOST_VALUES = 100_000  # a file of a few lines can name the same list a billion times
DEEPEST = 50  # levels of nesting
# ValueError: no UTF-8, or no date; the others come of tags whose values are none, as `!!int ''`.
UNREADABLE = (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, RecursionError)


def read_yaml(file: Path) -> Any:
    """What a YAML file says, as None, bool, int, float, str, list and dict with words as keys.

    Raises:
        OSError: there is no such file, or it cannot be read.
        ValueError: it is no YAML, or holds something else, or more than a file of settings can.
    """
    if file.is_file() and file.stat().st_size > MOST_BYTES:
        raise ValueError(f"expected YAML of at most {MOST_BYTES} bytes in {file}, it has more")
    try:
        content = yaml.load(file.read_text(encoding="utf-8"), Loader=SafeLoader)
    except UNREADABLE as error:
        reason = " ".join(str(error).split())[:300]
        raise ValueError(f"expected YAML in {file}, but it cannot be read: {reason}") from None
    count = 0
    waiting = [(content, 0)]
    while waiting:
        value, depth = waiting.pop()
        count += 1
        if count > MOST_VALUES or depth > DEEPEST:
            raise ValueError(
                f"expected at most {MOST_VALUES} values, at most {DEEPEST} deep, in {file}, it has more"
            )
        if isinstance(value, dict):
            if odd := [key for key in value if not isinstance(key, str)]:
                raise ValueError(f"expected words as keys in {file}, got {odd[0]!r}: put it in quotes")
            waiting += [(inner, depth + 1) for inner in value.values()]
        elif isinstance(value, list):
            waiting += [(inner, depth + 1) for inner in value]
        elif not isinstance(value, str | int | float | None):
            raise ValueError(f"expected numbers, words and lists in {file}, got {value!r:.80}")
    return content
