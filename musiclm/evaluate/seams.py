"""Where the seams of a piece are: when windows meet. `musiclm/metrics/seams.py` measures what one hears."""

from musiclm.windows import Takes


def borders_of(takes: Takes, context: int) -> list[float]:
    """Seconds at which a semantic window, a coarse one, or a block of sound ends, of takes from nothing.

    Args:
        takes: of the piece.
        context: frames that the decoder holds back at the end of a block.
    """
    length = takes.frames / takes.frame_rate
    borders = []
    for grid, rate, late in (
        (takes.token_grid, takes.token_rate, 0.0),
        (takes.frame_grid, takes.frame_rate, 0.0),
        (takes.frame_grid, takes.frame_rate, context / takes.frame_rate),
    ):
        _, end = grid.window(0)
        while end / rate < length:
            borders.append(end / rate - late)
            _, end = grid.window(end)
    return sorted(borders)
