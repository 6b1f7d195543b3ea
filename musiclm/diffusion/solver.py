"""From noise to data in few steps, first or second order."""

import torch
from torch import Tensor

from musiclm.diffusion.process import Process


class Solver:
    """Takes a state from time to time.

    The second order is DPM-Solver++(2M) (Lu et al., 2211.01095): in place of the data as the velocity at
    hand tells it, a line through it and that of the step before, at the middle of the step in log(a / s). The
    first step knows no other data, and the last one would look infinitely far: both are of the first order.

    Args:
        process: that the states are of.
        order: 1, DDIM, or 2.
    """

    def __init__(self, process: Process, order: int = 2) -> None:
        if order not in (1, 2):
            raise ValueError(f"expected a solver of order 1 or 2, got {order}")
        self.process = process
        self.order = order
        self._before: tuple[Tensor, Tensor] | None = None  # log(a / s) of the step before, and its data

    def step(self, state: Tensor, velocity: Tensor, time: Tensor, to: Tensor) -> Tensor:
        """The state at an earlier time.

        Args:
            state: [B, D, T] at `time`.
            velocity: that is predicted of it.
            time: [], of all frames.
            to: [], the same or earlier.
        """
        if self.order == 1:
            return self.process.step(state, velocity, time, to)
        at, then = self.process.coefficients(time), self.process.coefficients(to)
        data = self.process.data(state, velocity, time)
        log_snr, log_snr_then = (torch.log(each.data / each.noise) for each in (at, then))
        ahead = data
        if self._before is not None and to > 0:
            log_snr_before, before = self._before
            # 0 after the first step, which began at a ratio of 0
            weight = (log_snr_then - log_snr) / (2 * (log_snr - log_snr_before))
            ahead = data + weight * (data - before)
        self._before = (log_snr, data)
        noise = (state - at.data * data) / at.noise
        # As DDIM goes on, but for where the data is taken to be.
        return then.data * ahead + then.noise * (noise + at.data / at.noise * (data - ahead))
