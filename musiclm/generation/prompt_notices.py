"""What a user is told of a prompt that the model will hardly follow, or of which it reads a part only."""

import sys
import warnings
from collections.abc import Iterable

from musiclm.notices import PromptNotice
from musiclm.tokenizers.mulan_towers import normalise
from musiclm.tokenizers.protocols import JointEmbedding
from musiclm.tokenizers.reading import Reading

# Of 50 prompts in plain English the default model knows a third of the words or more, of 30 in other
# languages or wrongly spelled a quarter or less (tests/prompts_of_users.py).
LEAST_KNOWN = 0.3
MOST_NAMED = 8  # unknown words
LONGEST_QUOTE = 40  # characters


def warn_of(texts: Iterable[str], joint: JointEmbedding) -> None:
    """A `PromptNotice` for each text that the tower knows hardly a word of, and for each that it cuts."""
    level = _level_outside()
    for text in dict.fromkeys(texts):
        for line in lines_about(text, joint.reading(text)):
            warnings.warn(line, PromptNotice, stacklevel=level)


def lines_about(text: str, reading: Reading) -> list[str]:
    """What there is to say of a text, a line each."""
    shown = normalise(text) or "".join(character for character in text if character.isprintable())
    quoted, lines = f'"{_begin(shown)}"', []
    if reading.known_share < LEAST_KNOWN:
        why = f"it has never met {_listed(reading.unknown)}" if reading.unknown else "there is no word in it"
        lines.append(
            f"the model knows hardly a word of {quoted} ({why}), so the music will hardly follow it: "
            "use words of the captions it was trained on"
        )
    if reading.end is not None:
        count = len(reading.left_out.split())
        lines.append(
            f"the prompt {quoted} is longer than the model reads: the last words that count are "
            f'"{_end(normalise(reading.end))}", the {count} after them do not: shorten it'
        )
    return lines


def _level_outside() -> int:
    """The `stacklevel` with which the caller of this function warns of the line that called the package."""
    level, frame = 1, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("musiclm."):
        level, frame = level + 1, frame.f_back
    return level


def _listed(words: tuple[str, ...]) -> str:
    named = ", ".join(_begin(word) for word in words[:MOST_NAMED])
    return named if len(words) <= MOST_NAMED else f"{named} and {len(words) - MOST_NAMED} more"


def _begin(text: str) -> str:
    return text if len(text) <= LONGEST_QUOTE else f"{text[: LONGEST_QUOTE - 1].rstrip()}…"


def _end(text: str) -> str:
    if len(text) <= LONGEST_QUOTE:
        return text
    end = text[1 - LONGEST_QUOTE :]
    return f"…{end.partition(' ')[2] or end}"  # from the beginning of a word on, if any begins there
