"""Progress of long work: a bar on a terminal, plain lines elsewhere (logs, CI)."""

import sys
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

Item = TypeVar("Item")
SECONDS_BETWEEN_LINES = 30.0  # in a log; a terminal's bar moves all the time


class Progress:
    """Counts to `total` under a description; use as a context manager and call `advance`."""

    def __init__(self, description: str, total: int | None, *, unit: str = "it") -> None:
        self.description = description
        self.total = total
        self.count = 0
        self.terminal = sys.stderr.isatty()
        self.bar = tqdm(total=total, desc=description, unit=unit, disable=not self.terminal, leave=True)
        self.started = self.spoken = time.monotonic()

    def advance(self, amount: int = 1) -> None:
        if self.total is not None:
            amount = min(amount, self.total - self.count)  # what is counted may come in larger pieces
        self.count += amount
        self.bar.update(amount)
        now = time.monotonic()
        if not self.terminal and now - self.spoken > SECONDS_BETWEEN_LINES:
            self.spoken = now
            self._say()

    def _say(self) -> None:
        total = "" if self.total is None else f" of {self.total}"
        elapsed = time.monotonic() - self.started
        print(f"{self.description}: {self.count}{total}, {elapsed:.0f} s", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.bar.close()
        if not self.terminal:
            self._say()


def progress(items: Iterable[Item], *, total: int | None = None, description: str) -> Iterator[Item]:
    """Yield the items, counting them."""
    with Progress(description, total) as counter:
        for item in items:
            yield item
            counter.advance()


class Stages:
    """A bar for each stage, which take turns; call with (stage, done, total)."""

    def __init__(self) -> None:
        self.bars: dict[str, Progress] = {}

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage in self.bars and done < self.bars[stage].count:  # all begins again
            self.close()
        if stage not in self.bars:
            self.bars[stage] = Progress(stage, total, unit="frame")
        self.bars[stage].advance(done - self.bars[stage].count)

    def close(self) -> None:
        for bar in self.bars.values():
            bar.__exit__(None, None, None)
        self.bars.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
