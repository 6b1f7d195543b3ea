"""Where the seams of a piece are: when windows meet. `musiclm/metrics/seams.py` measures what one hears."""

from collections.abc import Iterable

from musiclm.generation.windows import WindowSchedule


def borders_of(schedules: Iterable[tuple[WindowSchedule, float, float]], seconds: float) -> list[float]:
    """Seconds at which windows end, in a piece of `seconds` that goes on from nothing.

    Args:
        schedules: of windows, each with the frames per second of its clock and the seconds by which what the
            windows end is heard earlier: a block of sound is held back by the codec's context.
        seconds: of the piece.
    """
    borders = []
    for schedule, rate, early in schedules:
        _, end = schedule.window(0)
        while end / rate < seconds:
            borders.append(end / rate - early)
            _, end = schedule.window(end)
    return sorted(borders)
