"""How data becomes noise, and noise data again: MeLoDy's angle process, and rectified flow.

At time t the state is z = a(t) x + s(t) ε, for data x and noise ε. A denoiser predicts its velocity
v = a'(t) x + s'(t) ε. Both processes have a s' - a' s = 1, so that x = s' z - s v and ε = a v - a' z. Times
run from 0, where the state is the data, to `end`, where it is noise; each frame may have a time of its own,
and one at 0 is context that stays what it is.
"""

import math
from abc import ABC, abstractmethod
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Schedule = Literal["linear", "uniform"]
Draw = Literal["uniform", "log_snr"]


class Coefficients(NamedTuple):
    """Of the data and of the noise in a state, and their derivatives by the time."""

    data: Tensor  # a
    noise: Tensor  # s
    data_rate: Tensor  # a'
    noise_rate: Tensor  # s'


class Process(ABC):
    """A path from data to noise. Times are tensors that broadcast against the states.

    Args:
        end: the time of pure noise.
    """

    end: float

    @abstractmethod
    def coefficients(self, time: Tensor) -> Coefficients:
        """Of each time."""

    @abstractmethod
    def time_of(self, log_snr: Tensor) -> Tensor:
        """The time at which log(a / s) has this value."""

    def noised(self, data: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """The state z at a time."""
        at = self.coefficients(time)
        return at.data * data + at.noise * noise

    def velocity(self, data: Tensor, noise: Tensor, time: Tensor) -> Tensor:
        """The velocity v of the state at a time: what a denoiser learns to predict."""
        at = self.coefficients(time)
        return at.data_rate * data + at.noise_rate * noise

    def data(self, state: Tensor, velocity: Tensor, time: Tensor) -> Tensor:
        """The data x that a state and its velocity are of."""
        at = self.coefficients(time)
        return at.noise_rate * state - at.noise * velocity

    def step(self, state: Tensor, velocity: Tensor, time: Tensor, to: Tensor) -> Tensor:
        """The state at an earlier time `to`, with the same data and noise: the step of DDIM.

        Of the angle process it is cos ω · z - sin ω · v for a step of ω (MeLoDy, sec. 3.3); of rectified
        flow, Euler's.
        """
        at, then = self.coefficients(time), self.coefficients(to)
        data = at.noise_rate * state - at.noise * velocity
        noise = at.data * velocity - at.data_rate * state
        return then.data * data + then.noise * noise

    def draw(self, share: Tensor, how: Draw = "uniform", *, mean: float = 0.0, std: float = 1.0) -> Tensor:
        """Times for training, of random numbers in [0, 1).

        Args:
            share: the random numbers.
            how: `uniform` in time (MeLoDy), or the logarithm of the signal-to-noise ratio a / s from a normal
                distribution. Of rectified flow that is a logit-normal draw (Stable Diffusion 3, sec. 3.1).
            mean, std: of that distribution.
        """
        if how == "uniform":
            return share * self.end
        tiny = torch.finfo(torch.float32).eps
        normal = math.sqrt(2) * torch.erfinv((2 * share - 1).clamp(-1 + tiny, 1 - tiny))
        return self.time_of(mean + std * normal)

    def times(self, steps: int, schedule: Schedule = "linear") -> Tensor:
        """Where `steps` steps from noise to data begin and end: [steps + 1], from `end` down to 0.

        Args:
            steps: T, 1 or more.
            schedule: `linear` begins with large steps and ends with small ones, π/(6T) + 2πt/(3T(T+1)) for
                t = T … 1 of the angle process (MeLoDy, sec. 3.3); `uniform` has equal ones.
        """
        if steps < 1:
            raise ValueError(f"expected one step or more, got {steps}")
        if schedule == "uniform":
            shares = torch.full((steps,), 1 / steps, dtype=torch.float64)
        else:
            number = torch.arange(steps, 0, -1, dtype=torch.float64)
            shares = 1 / (3 * steps) + 4 * number / (3 * steps * (steps + 1))
        left = 1 - torch.cat([shares.new_zeros(1), shares.cumsum(dim=0)])
        left[-1] = 0.0
        return (left * self.end).float()


class AngleProcess(Process):
    """z = cos δ · x + sin δ · ε for an angle δ from 0 to π/2 (MeLoDy, sec. 3.3); also known as TrigFlow."""

    end = math.pi / 2

    def coefficients(self, time: Tensor) -> Coefficients:
        """See `Process.coefficients`."""
        cos, sin = time.cos().clamp(min=0), time.sin()  # of π/2 in float32 the cosine is below 0
        return Coefficients(cos, sin, -sin, cos)

    def time_of(self, log_snr: Tensor) -> Tensor:
        """See `Process.time_of`."""
        return torch.atan(torch.exp(-log_snr))


class RectifiedFlow(Process):
    """z = (1 - t) x + t ε for a time t from 0 to 1 (Liu et al., 2209.03003)."""

    end = 1.0

    def coefficients(self, time: Tensor) -> Coefficients:
        """See `Process.coefficients`."""
        one = torch.ones_like(time)
        return Coefficients(1 - time, time, -one, one)

    def time_of(self, log_snr: Tensor) -> Tensor:
        """See `Process.time_of`."""
        return torch.sigmoid(-log_snr)


PROCESSES: dict[str, type[Process]] = {"angle": AngleProcess, "flow": RectifiedFlow}


def choose_process(name: str) -> Process:
    """The process of a name.

    Raises:
        ValueError: there is none.
    """
    if name not in PROCESSES:
        raise ValueError(f"expected a process of {', '.join(PROCESSES)}, got {name!r}")
    return PROCESSES[name]()
