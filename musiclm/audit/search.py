"""The nearest stretch of a whole token store: whose music is this, if anyone's?

Every window of the store is kept as the mean of its tokens' centroids. Moving one histogram onto another
costs at least the distance of their means, so what is near is near in its mean too: nearest means make a
short list, and optimal transport decides.
"""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from musiclm.audit.sinkhorn import centroid_distances, default_regularization, histograms, transport_costs
from musiclm.data.store import CODEBOOKS, TokenStore, read_codebooks, shards_of

WINDOW = 125  # tokens, 5 s: what the audit continues (MusicLM, sec. 5.3)
STRIDE = 25  # tokens from one window to the next, 1 s
DIMENSION = 64  # of the means, after the directions in which centroids vary most
SHORTLIST = 16
FLAT_UP_TO = 200_000  # windows; beyond, an inverted file searches a part of them
PROBED = 16  # of its lists
FOLDER = "search"  # beside the shards
MADE_OF = "made_of.json"


@dataclass(frozen=True)
class Found:
    """The nearest window of each of P sequences: its index [P], and the cost of transport to it [P]."""

    costs: np.ndarray
    windows: np.ndarray


class WindowSearch:
    """All windows of a store, ready to be searched.

    Args:
        index: faiss index of the windows' means.
        recordings: index of each window's recording in the store [M].
        starts: its first token [M].
        store: where the tokens are.
        directions: on which the means were projected [D, d].
        folder: where it is kept; None where it is in memory alone.
    """

    def __init__(
        self,
        index: Any,
        recordings: np.ndarray,
        starts: np.ndarray,
        store: TokenStore,
        *,
        directions: Tensor,
        folder: Path | None = None,
    ) -> None:
        self.folder = folder
        self.index = index
        self.recordings = recordings
        self.starts = starts
        self.store = store
        self.centroids = read_codebooks(store.folder)["semantic"][0].float()  # [V, D]
        self.directions = directions
        self.distances = centroid_distances(self.centroids)
        self.regularization = default_regularization(self.distances)

    @classmethod
    def build(cls, store: TokenStore) -> "WindowSearch":
        """Index every window of the store's training recordings.

        Raises:
            ValueError: none is as long as a window.
        """
        centroids = read_codebooks(store.folder)["semantic"][0].float()
        directions = main_directions(centroids)
        projected = (centroids @ directions).numpy()  # [V, d]
        means, recordings, starts = [], [], []
        for number, split in enumerate(store.splits()):
            if split != "train":
                continue
            own = window_means(store.semantic(number), projected)
            means.append(own)
            recordings.append(np.full(len(own), number, dtype=np.int32))
            starts.append(np.arange(len(own), dtype=np.int32) * STRIDE)
        points = np.concatenate([np.zeros((0, projected.shape[1]), dtype=np.float32), *means])
        if not len(points):
            raise ValueError(
                f"expected recordings of at least {WINDOW / store.description['semantic'].rate:g} s in "
                f"{store.folder} to search, found none"
            )
        return cls(
            _faiss_index(points),
            np.concatenate(recordings),
            np.concatenate(starts),
            store,
            directions=directions,
        )

    @classmethod
    def open(cls, store: TokenStore) -> "WindowSearch":
        """The search kept beside the store's shards; built and kept there where there is none of this store.

        Where it cannot be written (a store on a read-only disk), it stays in memory.
        """
        import faiss

        folder, made_of = store.folder / FOLDER, _made_of(store)
        if not _describes(folder, made_of):
            search = cls.build(store)
            try:
                search._keep(folder, made_of)
            except (OSError, RuntimeError) as error:  # faiss raises RuntimeError where the disk is full
                reason = " ".join(str(error).split())[:200]
                print(
                    f"the index of {store.folder} is not kept, and made again next time: {reason}",
                    file=sys.stderr,
                )
                return search
        try:
            index = faiss.read_index(str(folder / "means.faiss"), faiss.IO_FLAG_MMAP)
            recordings, starts = (
                np.load(folder / f"{name}.npy", mmap_mode="r") for name in ("recordings", "starts")
            )
            turn = torch.from_numpy(np.load(folder / "directions.npy"))
        except (RuntimeError, ValueError, OSError) as error:
            raise ValueError(f"expected an index in {folder}, it is damaged ({error}): remove it") from None
        return cls(index, recordings, starts, store, directions=turn, folder=folder)

    def _keep(self, folder: Path, made_of: dict[str, Any]) -> None:
        """Write the search as `folder`, whole or not at all."""
        import faiss

        temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
        shutil.rmtree(temporary, ignore_errors=True)
        try:
            temporary.mkdir()
            faiss.write_index(self.index, str(temporary / "means.faiss"))
            np.save(temporary / "recordings.npy", self.recordings)
            np.save(temporary / "starts.npy", self.starts)
            np.save(temporary / "directions.npy", self.directions.numpy())
            (temporary / MADE_OF).write_text(json.dumps(made_of), encoding="utf-8")
            shutil.rmtree(folder, ignore_errors=True)
            temporary.rename(folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)

    def __len__(self) -> int:
        return len(self.starts)

    def nearest(
        self, tokens: Tensor, *, not_of: Sequence[int] | np.ndarray | None = None, among: int = SHORTLIST
    ) -> Found:
        """The window nearest to each of P sequences [P, S].

        Args:
            tokens: semantic tokens.
            not_of: for each sequence, a recording of the store that does not count [P].
            among: windows on the short list.
        """
        projected = (self.centroids @ self.directions).numpy()
        queries = projected[tokens.numpy()].mean(axis=1).astype(np.float32)  # [P, d]
        # A recording that does not count may have many windows: the list is as much longer.
        spare = 0 if not_of is None else int(np.bincount(self.recordings).max())
        _, windows = self.index.search(queries, min(among + spare, len(self)))  # [P, k], -1 for none
        listed = windows >= 0
        if not_of is not None:
            listed &= self.recordings[windows] != np.asarray(not_of)[:, None]
        listed &= listed.cumsum(axis=1) <= among
        costs = np.full(windows.shape, np.inf, dtype=np.float32)
        rows, columns = np.nonzero(listed)
        if len(rows):
            costs[rows, columns] = transport_costs(
                histograms(tokens)[torch.from_numpy(rows)],
                histograms(self.tokens(windows[rows, columns])),
                self.distances,
                regularization=self.regularization,
            ).numpy()
        best = costs.argmin(axis=1)
        return Found(costs.min(axis=1), windows[np.arange(len(best)), best])

    def place(self, window: int) -> tuple[str, float]:
        """The id of a window's recording, and where in it the window begins, in seconds."""
        row = self.store.table.column("id")[int(self.recordings[window])].as_py()
        return row, int(self.starts[window]) / self.store.description["semantic"].rate

    def tokens(self, windows: np.ndarray) -> Tensor:
        """Semantic tokens [P, WINDOW] of windows [P]."""
        distinct, place = np.unique(windows, return_inverse=True)
        cut = [self._cut(int(window)) for window in distinct]
        return torch.from_numpy(np.stack(cut).astype(np.int64)[place])

    def _cut(self, window: int) -> np.ndarray:
        start = int(self.starts[window])
        return self.store.semantic(int(self.recordings[window]))[start : start + WINDOW]


def main_directions(centroids: Tensor) -> Tensor:
    """Orthonormal [D, d]: where the centroids [V, D] vary most; projected on them, no distance is longer."""
    _, _, components = torch.linalg.svd(centroids - centroids.mean(dim=0), full_matrices=False)
    return components[:DIMENSION].T


def _made_of(store: TokenStore) -> dict[str, Any]:
    """What an index depends on: it is made again when any of it changes."""
    files = [*shards_of(store.folder), store.folder / CODEBOOKS]
    states = {file.name: [file.stat().st_size, file.stat().st_mtime_ns] for file in files}
    return {"files": states, "window": WINDOW, "stride": STRIDE, "dimension": DIMENSION}


def _describes(folder: Path, made_of: dict[str, Any]) -> bool:
    try:
        return json.loads((folder / MADE_OF).read_text(encoding="utf-8")) == made_of
    except (OSError, ValueError):
        return False


def window_means(tokens: np.ndarray, projected: np.ndarray) -> np.ndarray:
    """Mean [M, d] of the projected centroids [V, d] over every window of a recording's tokens [T]."""
    if len(tokens) < WINDOW:
        return np.zeros((0, projected.shape[1]), dtype=np.float32)
    sums = np.concatenate(
        [np.zeros((1, projected.shape[1])), projected[tokens].cumsum(axis=0, dtype=np.float64)]
    )
    starts = np.arange(0, len(tokens) - WINDOW + 1, STRIDE)
    return ((sums[starts + WINDOW] - sums[starts]) / WINDOW).astype(np.float32)


def _faiss_index(points: np.ndarray) -> Any:
    """Exact for a small store; for a large one an inverted file of half-precision means."""
    import faiss

    lists = 4 * round(len(points) ** 0.5)
    words = "Flat" if len(points) <= FLAT_UP_TO else f"IVF{lists},SQfp16"
    index: Any = faiss.index_factory(points.shape[1], words)
    if not index.is_trained:
        index.train(points[:: max(len(points) // (64 * lists), 1)])
        index.nprobe = PROBED
    index.add(points)
    return index
