"""Descriptions of the same music at another tempo: negatives that differ in nothing else.

Among random negatives tempo is the last thing a contrastive model needs, since instrument and genre tell them
apart already. A caption with its tempo exchanged can only be told from the true one by listening for it
(hard negative captions: Yuksekgonul et al., 2210.01936, sec. 4).
"""

import re

import torch

# Slow, moderate, fast; what is said of a piece, and of how it is played.
_ADJECTIVES = (
    ("slow", "very slow", "slow-paced", "unhurried", "leisurely", "downtempo"),
    ("mid-tempo", "moderate", "medium-paced", "moderately paced", "walking-pace"),
    ("fast", "very fast", "fast-paced", "quick", "brisk", "rapid", "up-tempo", "breakneck"),
)
_ADVERBS = (
    ("slowly", "without hurry", "at a slow pace"),
    ("moderately", "at a moderate pace", "at a medium tempo", "at walking pace"),
    ("quickly", "rapidly", "at high speed"),
)
_BEATS_PER_MINUTE = ((60, 86), (92, 118), (126, 180))

# Every known word, in any spelling of its hyphens, with its tempo and the table it came from.
_KNOWN = {
    word.replace("-", " "): (tempo, table)
    for table in (_ADJECTIVES, _ADVERBS)
    for tempo, words in enumerate(table)
    for word in words
}
_WORDS = "|".join(word.replace(" ", "[- ]") for word in sorted(_KNOWN, key=len, reverse=True))
_TEMPO = re.compile(rf"\b(?:({_WORDS})|(\d{{2,3}})(?= ?(?:bpm|beats per minute)))\b", re.IGNORECASE)


def at_another_tempo(text: str) -> str | None:
    """`text` with the tempo that it names exchanged for another; None where it names none.

    Every mention is exchanged for one of the same other tempo, drawn by torch's generator.
    """
    first = _TEMPO.search(text)
    if first is None:
        return None
    others = [tempo for tempo in range(3) if tempo != _tempo_of(first)]
    other = others[_draw(2)]
    return _TEMPO.sub(lambda mention: _word_for(other, mention), text)


def _tempo_of(mention: re.Match[str]) -> int:
    """0, 1 or 2: slow, moderate or fast."""
    if mention[2]:
        return sum(int(mention[2]) > highest for _, highest in _BEATS_PER_MINUTE[:2])
    return _KNOWN[_plain(mention[1])][0]


def _word_for(tempo: int, mention: re.Match[str]) -> str:
    if mention[2]:
        lowest, highest = _BEATS_PER_MINUTE[tempo]
        return str(lowest + _draw(highest + 1 - lowest))
    words = _KNOWN[_plain(mention[1])][1][tempo]
    return words[_draw(len(words))]


def _plain(word: str) -> str:
    return word.lower().replace("-", " ")


def _draw(count: int) -> int:
    return int(torch.randint(count, ()))
