"""Where the overlapping windows begin and end that stages draw their frames in (MusicLM, sec. 4.2).

A window goes on from frames that the one before it has drawn. The two stages of a request have schedules of
their own, on their own clocks; both begin where the new music does.
"""

from collections.abc import Callable
from dataclasses import dataclass

# Called with the name of what is being made, how much of it is done, and how much there is.
OnProgress = Callable[[str, int, int], None]


def say_nothing(stage: str, done: int, total: int) -> None:
    """An `OnProgress` that nobody looks at."""


@dataclass(frozen=True)
class WindowSchedule:
    """Where windows begin and end, in frames.

    Args:
        length: of a window.
        carry: frames before the new ones that a window begins with.
        step: windows begin at multiples of it.
    """

    length: int
    carry: int
    step: int = 1

    @classmethod
    def of(
        cls, window: float, carry: float, rate: float, *, unit: int = 1, hop: float = 0.0
    ) -> "WindowSchedule":
        """The grid of seconds on a clock of `rate` Hz, in whole `unit`s.

        Under conditions with a hop, what is new in a window is shortened to a multiple of it, so that windows
        begin where a frame of theirs does, as a melody's.

        Raises:
            ValueError: windows are too short to carry anything on, or to add anything.
        """
        length = round(window * rate / unit) * unit
        kept = round(carry * rate / unit) * unit
        if not 0 < kept < length:
            raise ValueError(
                f"expected windows that carry on some frames of {rate:g} Hz and add some, got {carry:g} of "
                f"{window:g} s: change the bundle's settings"
            )
        step = round(hop * rate / unit) * unit
        if step <= unit:
            return cls(length, kept, unit)
        new = max((length - kept) // step, 1) * step
        if new >= length:
            raise ValueError(
                f"expected windows longer than {hop:g} s to follow a melody, got {window:g} s: "
                "change the bundle's settings"
            )
        return cls(length, length - new, step)

    def window(self, done: int) -> tuple[int, int]:
        """First frame and end of the window that goes on from frame `done`.

        The very first ends where the second begins to be new: it is the beginning of the same window, drawn
        ahead of the rest.
        """
        if done == 0:
            return 0, self.carry
        start = max(-(-(done - self.carry) // self.step) * self.step, 0)
        start = min(start, done // self.step * self.step)  # where less than a step is carried
        return start, start + self.length


def counting(on_progress: OnProgress, stage: str, before: int, total: int) -> Callable[[int], None]:
    """What a stage calls with the frames it has begun, `before` having been made by earlier windows."""
    return lambda step: on_progress(stage, min(before + step, total), total)
