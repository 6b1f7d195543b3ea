"""Which music is asked for: stretches of recordings, drawn by how often they occur in the training set.

Duplicates drive memorization (Carlini et al., 2202.07646, sec. 3.2), so exact ones are found first, and the
sample is stratified by their number. Stretches of one recording begin a continuation's length apart, so that
no two targets share a token.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

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

    def strata(self) -> np.ndarray:
        """Index into STRATA of each example [N]."""
        return np.searchsorted(STRATA, self.copies, side="right") - 1


def stretches(rows: Sequence[TokenRow], *, length: int, apart: int) -> tuple[np.ndarray, np.ndarray]:
    """Recording and first token [N] of every stretch of `length` tokens, `apart` from one to the next."""
    places = [
        (index, start)
        for index, row in enumerate(rows)
        for start in range(0, len(row.semantic) - length + 1, apart)
    ]
    recordings, starts = np.array(places, dtype=np.int64).reshape(-1, 2).T
    return recordings, starts


def tokens_at(
    rows: Sequence[TokenRow], recordings: np.ndarray, starts: np.ndarray, length: int
) -> np.ndarray:
    """Semantic tokens [N, length] int64 of stretches."""
    cut = [rows[r].semantic[s : s + length] for r, s in zip(recordings, starts, strict=True)]
    return np.stack(cut).astype(np.int64) if cut else np.zeros((0, length), dtype=np.int64)


def count_copies(
    training: Sequence[TokenRow],
    rows: Sequence[TokenRow],
    recordings: np.ndarray,
    starts: np.ndarray,
    length: int,
) -> np.ndarray:
    """How often [N] each stretch of `rows` occurs in the training recordings, wherever it begins."""
    wanted = np.array(
        [
            _hashes(rows[r].semantic[s : s + length], length)[0]
            for r, s in zip(recordings, starts, strict=True)
        ],
        dtype=np.uint64,
    )
    every = [_hashes(row.semantic, length) for row in training]
    ordered = np.sort(np.concatenate([np.zeros(0, dtype=np.uint64), *every]))
    return np.searchsorted(ordered, wanted, side="right") - np.searchsorted(ordered, wanted, side="left")


def identical_recordings(rows: Sequence[TokenRow]) -> list[list[str]]:
    """Groups of recordings (their ids) with the same tokens from beginning to end."""
    groups: dict[bytes, list[str]] = defaultdict(list)
    for row in rows:
        groups[row.semantic.tobytes()].append(row.id)
    return [ids for ids in groups.values() if len(ids) > 1]


def draw(
    recordings: np.ndarray, starts: np.ndarray, copies: np.ndarray, *, count: int, seed: int
) -> Examples:
    """`count` of the stretches, as many of each stratum as there are, up to an equal share of the rest."""
    generator = np.random.Generator(np.random.PCG64(seed))
    stratum = np.searchsorted(STRATA, copies, side="right") - 1
    present = sorted(set(stratum), key=lambda index: (stratum == index).sum())  # the smallest is filled first
    chosen, weights, left = [], [], min(count, len(recordings))
    for done, index in enumerate(present):
        members = np.flatnonzero(stratum == index)
        taken = min(len(members), left // (len(present) - done))
        chosen.append(generator.permutation(members)[:taken])
        weights.append(np.full(taken, len(members) / max(taken, 1)))
        left -= taken
    picked = np.concatenate([np.zeros(0, dtype=np.int64), *chosen])
    return Examples(
        recordings[picked], starts[picked], copies[picked], np.concatenate([np.zeros(0), *weights])
    )


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
