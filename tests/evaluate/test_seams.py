"""The borders of a piece are where its windows and blocks of sound end."""

from musiclm.evaluate.seams import borders_of
from musiclm.generation.windows import WindowSchedule


def test_borders_are_where_windows_and_blocks_end() -> None:
    tokens = WindowSchedule.of(4.0, 2.0, 25.0)
    codes = WindowSchedule.of(3.0, 1.0, 50.0, unit=2)
    semantic, coarse = [2.0, 4.0, 6.0], [1.0, 3.0, 5.0, 7.0]
    schedules = [(tokens, 25.0, 0.0), (codes, 50.0, 0.0), (codes, 50.0, 0.5)]
    assert borders_of(schedules, 8.0) == sorted([*semantic, *coarse, *(end - 0.5 for end in coarse)])
