"""The processes: states, velocities and steps; equality with diffusers; schedules; draws of times."""

import math
from itertools import pairwise

import pytest
import torch
from diffusers import DDIMScheduler
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from musiclm.diffusion.process import AngleProcess, Process, RectifiedFlow, choose_process
from musiclm.diffusion.solver import Solver

PROCESSES = [AngleProcess(), RectifiedFlow()]
both = pytest.mark.parametrize("process", PROCESSES, ids=["angle", "flow"])


def pair(seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(2, 3, 5, generator=generator), torch.randn(2, 3, 5, generator=generator)


@both
@settings(deadline=None, max_examples=30)
@given(st.floats(0, 1), st.floats(0, 1))
def test_a_step_along_the_true_velocity_stays_on_the_path(process: Process, one: float, two: float) -> None:
    data, noise = pair()
    later, earlier = (torch.tensor(share * process.end) for share in (max(one, two), min(one, two)))
    state, velocity = process.noised(data, noise, later), process.velocity(data, noise, later)
    torch.testing.assert_close(process.data(state, velocity, later), data, atol=1e-5, rtol=0)
    stepped = process.step(state, velocity, later, earlier)
    torch.testing.assert_close(stepped, process.noised(data, noise, earlier), atol=1e-5, rtol=0)


@both
def test_the_velocity_is_the_derivative_of_the_state(process: Process) -> None:
    data, noise = (each.double() for each in pair())
    time, tiny = torch.tensor(0.3, dtype=torch.float64), 1e-6
    slope = (process.noised(data, noise, time + tiny) - process.noised(data, noise, time - tiny)) / (2 * tiny)
    torch.testing.assert_close(process.velocity(data, noise, time), slope, atol=1e-8, rtol=0)


@both
def test_frames_of_time_zero_are_kept_to_the_bit(process: Process) -> None:
    state, velocity = pair()
    time = torch.tensor([0.0, 0.0, 0.2, 0.5, 0.7])
    stepped = process.step(state, velocity, time, time / 2)
    assert torch.equal(stepped[..., :2], state[..., :2])
    assert not torch.equal(stepped[..., 2:], state[..., 2:])


@both
def test_ends_are_data_and_noise(process: Process) -> None:
    data, noise = pair()
    assert torch.equal(process.noised(data, noise, torch.tensor(0.0)), data)
    torch.testing.assert_close(process.noised(data, noise, torch.tensor(process.end)), noise)


def test_a_step_of_the_angle_process_is_melodys() -> None:
    state, velocity = pair()
    stepped = AngleProcess().step(state, velocity, torch.tensor(1.1), torch.tensor(0.8))
    expected = math.cos(0.3) * state - math.sin(0.3) * velocity
    torch.testing.assert_close(stepped, expected)


def test_the_angle_process_is_ddim_with_v_prediction_at_equal_noise() -> None:
    scheduler = DDIMScheduler(
        num_train_timesteps=1000, prediction_type="v_prediction", clip_sample=False, set_alpha_to_one=False,
        timestep_spacing="leading", steps_offset=0,
    )  # fmt: skip
    scheduler.set_timesteps(20)
    process, (state, _) = AngleProcess(), pair()
    angles = torch.acos(scheduler.alphas_cumprod.double().sqrt()).float()
    ours = theirs = state
    for number, step in enumerate(scheduler.timesteps):
        velocity = pair(number + 1)[1]
        before = max(int(step) - 50, 0)
        theirs = scheduler.step(velocity, step, theirs).prev_sample
        ours = process.step(ours, velocity, angles[step], angles[before])
    torch.testing.assert_close(ours, theirs, atol=2e-4, rtol=1e-4)


@both
@settings(deadline=None, max_examples=30)
@given(st.integers(1, 40), st.sampled_from(["linear", "uniform"]))
def test_schedules_go_from_noise_to_data(process: Process, steps: int, schedule: str) -> None:
    times = process.times(steps, schedule)  # type: ignore[arg-type]
    assert len(times) == steps + 1
    assert float(times[0]) == pytest.approx(process.end)
    assert float(times[-1]) == 0.0
    widths = times[:-1] - times[1:]
    assert (widths > 0).all()
    assert (widths[:-1] - widths[1:] >= -1e-5).all()  # large steps first


def test_the_linear_schedule_is_melodys() -> None:
    steps = 7
    widths = [
        math.pi / (6 * steps) + 2 * math.pi * t / (3 * steps * (steps + 1)) for t in range(steps, 0, -1)
    ]
    times = AngleProcess().times(steps, "linear")
    torch.testing.assert_close(times[:-1] - times[1:], torch.tensor(widths))


@both
def test_times_are_drawn_uniformly_or_by_their_signal_to_noise(process: Process) -> None:
    share = torch.rand(20_000, generator=torch.Generator().manual_seed(0))
    uniform = process.draw(share)
    assert float(uniform.mean()) == pytest.approx(process.end / 2, rel=0.02)
    drawn = process.draw(share, "log_snr", mean=0.5, std=1.5)
    at = process.coefficients(drawn)
    log_snr = torch.log(at.data / at.noise)
    assert float(log_snr.mean()) == pytest.approx(0.5, abs=0.05)
    assert float(log_snr.std()) == pytest.approx(1.5, rel=0.02)
    edges = process.draw(torch.tensor([0.0, 1.0]), "log_snr")
    assert ((edges > 0) & (edges < process.end)).all()


def gaussian_velocity(process: Process, state: Tensor, time: Tensor, mean: float, std: float) -> Tensor:
    """The best prediction where all data is of one Gaussian: E[v | z], by its score."""
    at = process.coefficients(time)
    variance = (at.data * std) ** 2 + at.noise**2
    data = mean + at.data * std**2 / variance * (state - at.data * mean)
    noise = at.noise / variance * (state - at.data * mean)
    return at.data_rate * data + at.noise_rate * noise


@both
@pytest.mark.parametrize("order", [1, 2])
def test_a_gaussian_is_found_again(process: Process, order: int) -> None:
    mean, std = 1.5, 0.4
    noise = torch.randn(1, 1, 4000, generator=torch.Generator().manual_seed(0))
    at_end = process.times(40)
    state, solver = noise, Solver(process, order)
    for time, to in pairwise(at_end):
        state = solver.step(state, gaussian_velocity(process, state, time, mean, std), time, to)
    tolerance = 0.05 if order == 1 else 0.01
    torch.testing.assert_close(state, mean + std * noise, atol=tolerance * 4, rtol=0)


@both
def test_the_second_order_is_nearer_in_the_same_steps(process: Process) -> None:
    noise, mean, std = torch.randn(1, 1, 1000, generator=torch.Generator().manual_seed(0)), 1.0, 0.5
    errors = []
    for order in (1, 2):
        state, solver, times = noise, Solver(process, order), process.times(8)
        for time, to in pairwise(times):
            state = solver.step(state, gaussian_velocity(process, state, time, mean, std), time, to)
        errors.append(float((state - (mean + std * noise)).square().mean()))
    assert errors[1] < errors[0] / 2


def test_a_mixture_is_sampled_right() -> None:
    """Two peaks of unequal weight: as many samples come to each as it weighs."""
    process, means, weights, std = AngleProcess(), torch.tensor([-2.0, 2.0]), torch.tensor([0.3, 0.7]), 0.3
    state = torch.randn(1, 1, 8000, generator=torch.Generator().manual_seed(0))
    times, solver = process.times(60), Solver(process)
    for time, to in pairwise(times):
        at = process.coefficients(time)
        variance = (at.data * std) ** 2 + at.noise**2
        away = state[..., None] - at.data * means  # [1, 1, N, 2]
        share = (weights.log() - away.square() / (2 * variance)).softmax(dim=-1)
        data = (share * (means + at.data * std**2 / variance * away)).sum(dim=-1)
        noise = (share * at.noise / variance * away).sum(dim=-1)
        state = solver.step(state, at.data_rate * data + at.noise_rate * noise, time, to)
    assert float((state > 0).float().mean()) == pytest.approx(0.7, abs=0.02)
    assert float(state[state > 0].std()) == pytest.approx(std, rel=0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: choose_process("cold"), "expected a process of angle, flow, got 'cold'"),
        (lambda: AngleProcess().times(0), "expected one step or more, got 0"),
        (lambda: Solver(AngleProcess(), 3), "expected a solver of order 1 or 2, got 3"),
    ],
)
def test_what_is_no_process_is_said_so(make: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()  # type: ignore[operator]
