"""Pseudo-labels: the sentences of a vocabulary that a joint embedding finds nearest to each recording.

Noise2Music (2302.03917, sec. 3.2): of a recording's K nearest sentences, a few are drawn, each with a
probability inverse to how many recordings have it among their K: else the same handful would describe all.
"""

import zlib
from collections.abc import Callable, Iterable, Sequence
from itertools import islice

import numpy as np

SENTENCES_AT_ONCE = 8192  # bounds memory, and the progress moves on: so many are embedded at a time


def nearest_sentences(
    recordings: np.ndarray,
    sentences: Iterable[str],
    embed: Callable[[list[str]], np.ndarray],
    k: int,
    *,
    at_once: int = SENTENCES_AT_ONCE,
) -> list[list[str]]:
    """The K sentences nearest to each recording, the nearest first; exactly, in one pass over the vocabulary.

    Args:
        recordings: embeddings [R, D] on the unit sphere.
        sentences: the vocabulary, each once.
        embed: makes embeddings [B, D] of sentences.
        k: how many of them; fewer where the vocabulary is smaller.
        at_once: sentences that are embedded and compared together.
    """
    import faiss

    best = np.full((len(recordings), 0), -np.inf, np.float32)  # cosines, falling
    names = np.full((len(recordings), 0), "", object)
    queries = np.ascontiguousarray(recordings, np.float32)
    remaining = iter(sentences)
    while chunk := list(islice(remaining, at_once)):
        vectors = np.ascontiguousarray(embed(chunk), np.float32)
        near, places = faiss.knn(queries, vectors, min(k, len(chunk)), metric=faiss.METRIC_INNER_PRODUCT)
        best = np.concatenate([best, near], axis=1)
        names = np.concatenate([names, np.array(chunk, object)[places]], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        best, names = np.take_along_axis(best, order, 1), np.take_along_axis(names, order, 1)
    return [list(row) for row in names]


def draw_labels(
    nearest: Sequence[Sequence[str]], ids: Sequence[str], draw: int, *, seed: int = 0, balanced: bool = True
) -> list[list[str]]:
    """`draw` of each recording's nearest sentences, drawn as Noise2Music does.

    Args:
        nearest: of each recording.
        ids: of the recordings; a draw depends on the seed, the id and the counts alone.
        draw: how many; fewer where there are fewer.
        seed: of the draw.
        balanced: with probabilities inverse to how often a sentence is near; else all are alike.
    """
    counts: dict[str, int] = {}
    for near in nearest:
        for sentence in near:
            counts[sentence] = counts.get(sentence, 0) + 1
    labels = []
    for id, near in zip(ids, nearest, strict=True):
        random = np.random.default_rng([seed, zlib.crc32(id.encode())])
        weights = np.array([1 / counts[sentence] if balanced else 1.0 for sentence in near])
        chosen = random.choice(len(near), min(draw, len(near)), replace=False, p=weights / weights.sum())
        labels.append([near[place] for place in sorted(chosen)])
    return labels


def entropy(labels: Iterable[Sequence[str]]) -> float:
    """Of the distribution of labels over all recordings, in bits."""
    counts: dict[str, int] = {}
    for own in labels:
        for label in own:
            counts[label] = counts.get(label, 0) + 1
    shares = np.array(list(counts.values()), float)
    shares /= shares.sum()
    return float(-(shares * np.log2(shares)).sum())
