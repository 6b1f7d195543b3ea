"""What a text tower makes of a text: how many of its words it has met, and where it stops reading.

A tower returns a vector for any text, whether it understands it or not. A `Reading` says which.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass

MOST_WORDS = 50_000  # of a list; of more captions than a person can write, the most frequent
PLURALS = ("", "s", "es")
# English words that describe no music by themselves, so that knowing them is not understanding a prompt.
FUNCTION_WORDS = frozenset(
    ["a", "an", "the", "this", "that", "these", "those", "and", "or", "but", "not", "of", "in", "on", "at",
     "to", "for", "from", "by", "with", "as", "is", "are", "was", "were", "be", "it", "its", "i", "me", "my",
     "we", "our", "you", "your", "he", "she", "his", "her", "they", "their", "some", "very", "like", "over",
     "under", "into", "about"]
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """What of a text counts.

    Args:
        unknown: words that the training captions have not; none where a tower keeps no list of words.
        known_share: of the words that may describe music, how many the captions have, 0 ... 1.
        end: the text up to where the tower stops reading; None where it reads all.
        left_out: what comes after.
    """

    unknown: tuple[str, ...] = ()
    known_share: float = 1.0
    end: str | None = None
    left_out: str = ""


def whole_words(text: str, read: int) -> tuple[str, str]:
    """A text of which `read` characters are read, as its whole words that are, and what is left out.

    Of a first word that is cut itself, the beginning stands for it.
    """
    end = text[:read]
    if not text[read:].startswith(" "):
        end = end.rpartition(" ")[0] or end
    return end.rstrip(), text[len(end) :].strip()


def count_known(words: Iterable[str], known: Collection[str]) -> tuple[tuple[str, ...], float]:
    """The words that are not known, each once, and the share of those that are; 0 where there is no word.

    A plural is known where the word is: subword pieces spell "guitars" as "guitar" and an ending.
    """
    distinct = list(dict.fromkeys(words))
    telling = [word for word in distinct if word not in FUNCTION_WORDS] or distinct
    unknown = tuple(
        word for word in telling if not any(word.removesuffix(ending) in known for ending in PLURALS)
    )
    return unknown, 1 - len(unknown) / len(telling) if telling else 0.0


def words_of(texts: Iterable[str]) -> frozenset[str]:
    """The words of normalised texts, at most `MOST_WORDS`."""
    counts = Counter(word for text in texts for word in text.split())
    return frozenset(word for word, _ in counts.most_common(MOST_WORDS))
