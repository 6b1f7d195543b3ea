"""Some rows of a token store, each read when it is asked for.

A row is an object of Python with a view for every stream: a million of them take minutes and gigabytes. What
decides which rows are used, their split and their lengths, is read as whole columns instead.
"""

from collections.abc import Sequence
from typing import overload

import numpy as np

from musiclm.data.store import SHAPES, TokenRow, TokenStore
from musiclm.stages.streams import Stream


class StoreRows(Sequence[TokenRow]):
    """Rows of a store, in order.

    Args:
        store: whose rows they are.
        numbers: int64 [rows], in the store.
    """

    def __init__(self, store: TokenStore, numbers: np.ndarray) -> None:
        self.store = store
        self.numbers = numbers

    @classmethod
    def of_split(cls, store: TokenStore, split: str) -> "StoreRows":
        """All rows of a split."""
        from pyarrow import compute

        return cls(store, compute.equal(store.table.column("split"), split).to_numpy().nonzero()[0])

    def __len__(self) -> int:
        return len(self.numbers)

    @overload
    def __getitem__(self, index: int) -> TokenRow: ...
    @overload
    def __getitem__(self, index: slice) -> "StoreRows": ...
    def __getitem__(self, index: int | slice) -> "TokenRow | StoreRows":
        if isinstance(index, slice):
            return StoreRows(self.store, self.numbers[index])
        return self.store[int(self.numbers[index])]

    def where(self, chosen: np.ndarray) -> "StoreRows":
        """Those for which bool [rows] is true."""
        return StoreRows(self.store, self.numbers[chosen])

    def seconds(self) -> np.ndarray:
        """The length of each recording, float64 [rows]."""
        seconds: np.ndarray = self.store.table.column("seconds").to_numpy()[self.numbers]
        return seconds

    def frames(self, stream: Stream) -> np.ndarray:
        """How many frames, or windows, each recording has of a stream, int64 [rows]."""
        from pyarrow import compute

        values = compute.list_value_length(self.store.table.column(stream.name)).to_numpy()
        in_a_frame = abs(int(np.prod(SHAPES[stream.kind](stream))))  # one extent is -1
        frames: np.ndarray = values[self.numbers] // in_a_frame
        return frames
