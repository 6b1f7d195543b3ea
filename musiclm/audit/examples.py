"""Which music is asked for: stretches of recordings, drawn by how often they occur in the training set.

Duplicates drive memorization (Carlini et al., 2202.07646, sec. 3.2), so exact ones are found first, and the
sample is stratified by their number. Stretches of one recording begin a continuation's length apart, so that
no two targets share a token.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from musiclm.data.store import TokenRow

STRATA = (1, 2, 4, 16)  # lowest number of copies in each
BASE = np.uint64(0x9E3779B97F4A7C15)  # odd, so that it has an inverse modulo 2^64


@dataclass(frozen=True)
class Examples:
    """N stretches of recordings.

    Attributes:
        recordings: index of each one's recording [N].
        starts: its first token [N].
        copies: places of the training set that hold the very same tokens [N].
        weights: stretches of the population that it stands for [N].
    """

    recordings: np.ndarray
    starts: np.ndarray
    copies: np.ndarray
    weights: np.ndarray

    def __len__(self) -> int:
        return len(self.recordings)

    def take(self, which: np.ndarray) -> "Examples":
        """Those of some indices, in their order."""
        return Examples(self.recordings[which], self.starts[which], self.copies[which], self.weights[which])

    def strata(self) -> np.ndarray:
        """Index into STRATA of each example [N]; what is not of training counts as if it came once."""
        return np.searchsorted(STRATA, self.copies.clip(min=1), side="right") - 1


def stretches(
    rows: Sequence[TokenRow],
    training: Sequence[TokenRow],
    *,
    length: int,
    apart: int,
    clear_of_end: int = 0,
) -> Examples:
    """Every distinct stretch of `length` tokens, `apart` from one to the next, with its copies in training.

    Args:
        rows: the recordings.
        training: those that the stage was trained on.
        length, apart: in tokens.
        clear_of_end: tokens at the end of every recording that no stretch reaches.
    """
    places = [
        (index, start)
        for index, row in enumerate(rows)
        for start in range(0, len(row.semantic) - clear_of_end - length + 1, apart)
    ]
    recordings, starts = np.array(places, dtype=np.int64).reshape(-1, 2).T
    tokens = tokens_at(rows, recordings, starts, length)
    seen: dict[bytes, int] = {}
    first = np.array(
        [seen.setdefault(stretch.tobytes(), at) for at, stretch in enumerate(tokens)], dtype=np.int64
    )
    kept = np.unique(first)  # of stretches that are the same, the first stands for all
    weights = np.bincount(first, minlength=len(first))[kept].astype(np.float64)
    copies = count_copies((row.semantic for row in training), tokens[kept])
    return Examples(recordings[kept], starts[kept], copies, weights)


def never_heard(
    population: Examples,
    rows: Sequence[TokenRow],
    training: Sequence[TokenRow],
    *,
    offsets: Sequence[int],
    length: int,
) -> Examples:
    """Those of a population whose `length` tokens from any of the offsets on stand nowhere in training.

    A control of phrases that training has, too, would be continued from memory.

    Args:
        population: stretches of the rows.
        rows: held-out recordings.
        training: those that the stage was trained on.
        offsets: in tokens from a stretch's beginning.
        length: in tokens.
    """
    heard = np.zeros(len(population), dtype=bool)
    for offset in offsets:
        tokens = tokens_at(rows, population.recordings, population.starts + offset, length)
        heard |= count_copies((row.semantic for row in training), tokens) > 0
    return population.take(np.flatnonzero(~heard))


def tokens_at(
    rows: Sequence[TokenRow], recordings: np.ndarray, starts: np.ndarray, length: int
) -> np.ndarray:
    """Semantic tokens [N, length] int64 of stretches."""
    cut = [rows[r].semantic[s : s + length] for r, s in zip(recordings, starts, strict=True)]
    return np.stack(cut).astype(np.int64) if cut else np.zeros((0, length), dtype=np.int64)


def count_copies(training: Iterable[np.ndarray], tokens: np.ndarray) -> np.ndarray:
    """How often [N] each stretch of tokens [N, length] occurs in the training recordings, wherever it begins.

    Args:
        training: tokens [T] of each training recording.
        tokens: the stretches.
    """
    if not len(tokens):
        return np.zeros(0, dtype=np.int64)
    length = tokens.shape[1]
    hashes = np.array([_hashes(row, length)[0] for row in tokens], dtype=np.uint64)
    wanted, place = np.unique(hashes, return_inverse=True)
    found = np.zeros(len(wanted), dtype=np.int64)
    for recording in training:
        own = _hashes(recording, length)
        at = np.searchsorted(wanted, own).clip(max=len(wanted) - 1)
        found += np.bincount(at[wanted[at] == own], minlength=len(wanted))
    return found[place]


def identical_recordings(rows: Sequence[TokenRow]) -> list[list[str]]:
    """Groups of recordings (their ids) with the same tokens from beginning to end."""
    groups: dict[bytes, list[str]] = defaultdict(list)
    for row in rows:
        groups[row.semantic.tobytes()].append(row.id)
    return [ids for ids in groups.values() if len(ids) > 1]


def draw(population: Examples, *, count: int, seed: int) -> Examples:
    """`count` of a population, as many of each stratum as there are, up to an equal share of the rest."""
    generator = np.random.Generator(np.random.PCG64(seed))
    stratum = population.strata()
    present = sorted(set(stratum), key=lambda index: (stratum == index).sum())  # the smallest is filled first
    chosen, weights, left = [np.zeros(0, dtype=np.int64)], [np.zeros(0)], min(count, len(population))
    for done, index in enumerate(present):
        members = np.flatnonzero(stratum == index)
        taken = generator.permutation(members)[: min(len(members), left // (len(present) - done))]
        chosen.append(taken)
        weights.append(population.weights[taken] * (len(members) / max(len(taken), 1)))
        left -= len(taken)
    order = generator.permutation(sum(map(len, chosen)))  # so that the first few are of every stratum
    return replace(population.take(np.concatenate(chosen)), weights=np.concatenate(weights)).take(order)


def _hashes(tokens: np.ndarray, length: int) -> np.ndarray:
    """A hash [max(T - length + 1, 0)] of every run of `length` tokens: a polynomial modulo 2^64, in O(T)."""
    if len(tokens) < length:
        return np.zeros(0, dtype=np.uint64)
    powers = np.cumprod(np.full(len(tokens), BASE, dtype=np.uint64))  # BASE^1 … BASE^T, wrapping round
    inverse = np.cumprod(np.full(len(tokens), np.uint64(pow(int(BASE), -1, 2**64)), dtype=np.uint64))
    # Tokens are spread over all 64 bits first: the low bits of small numbers alone would collide.
    spread = (tokens.astype(np.uint64) + np.uint64(1)) * np.uint64(0xBF58476D1CE4E5B9)
    spread ^= spread >> np.uint64(31)
    sums = np.concatenate([np.zeros(1, dtype=np.uint64), np.cumsum(spread * powers, dtype=np.uint64)])
    count = len(tokens) - length + 1
    return (sums[length:] - sums[:count]) * inverse[:count]
