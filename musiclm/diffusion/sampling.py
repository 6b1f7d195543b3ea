"""Latents drawn by a denoiser: noise goes to data step by step, guided, with known frames as context."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import torch
from torch import Tensor

from musiclm.diffusion.denoiser import Denoiser
from musiclm.diffusion.process import Schedule
from musiclm.diffusion.solver import Solver
from musiclm.machine.cpus import on_free_cpus
from musiclm.stages.layout import Segment, check_range


@dataclass(frozen=True)
class Guidance:
    """How far the velocity is moved away from those under fewer conditions (classifier-free guidance).

    Args:
        by: scales of single conditions; 1 leaves them as they are, and each other one takes a row more.
        all: scale of all conditions at once.
        interval: shares of the way from noise (1) to data (0) between which there is guidance
            (Kynkäänniemi et al., 2404.07724).
    """

    by: Mapping[str, float] = field(default_factory=dict)
    all: float = 1.0
    interval: tuple[float, float] = (0.0, 1.0)

    def rows(self, names: Sequence[str], share: float) -> list[tuple[frozenset[str], float]]:
        """What is left out of each further row at a moment, and how far the velocity is moved from it."""
        if not self.interval[0] <= share <= self.interval[1]:
            return []
        wanted = [(frozenset(names), self.all)]
        wanted += [(frozenset([name]), scale) for name, scale in self.by.items() if name in names]
        return [(left_out, scale - 1) for left_out, scale in wanted if scale != 1]


@torch.inference_mode()
def sample_latents(
    denoiser: Denoiser,
    codes: Mapping[str, Tensor],
    *,
    frames: int,
    generators: Sequence[torch.Generator],
    steps: int = 10,
    schedule: Schedule = "linear",
    order: int = 2,
    guidance: Guidance | None = None,
    known: Tensor | None = None,
    is_known: Tensor | None = None,
    on_step: Callable[[int], None] | None = None,
) -> Tensor:
    """Latents [N, D, T] of N samples, the known ones among them as they were.

    A sample is made by itself: no bit of it depends on the others.

    Args:
        denoiser: the network.
        codes: [N or 1, levels, T'] by condition; absent ones may be missing.
        frames: T, a multiple of the denoiser's fold.
        generators: N sources of randomness.
        steps: forward passes over all frames (each with as many rows as the guidance needs).
        schedule: where they begin and end.
        order: of the solver.
        guidance: None for none.
        known: latents [N or 1, D, T] where `is_known`.
        is_known: bool [T]; a position is known whole, or not at all.
        on_step: called with the number of steps that are done.

    Raises:
        ValueError: the frames are no multiple of the fold, or the codes are none of the denoiser's.
    """
    _check(denoiser, codes, frames)
    made = []
    for row, generator in enumerate(generators):
        own = {name: each[row % len(each)][None] for name, each in codes.items()}
        kept = None if known is None else known[row % len(known)][None]
        made.append(
            _sample(
                denoiser,
                own,
                noise=torch.randn(
                    1, denoiser.dimension, frames, generator=generator, device=generator.device
                ),
                times=denoiser.process.times(steps, schedule).to(generator.device),
                solver=Solver(denoiser.process, order),
                guidance=guidance or Guidance(),
                known=kept,
                is_known=is_known,
                on_step=on_step,
            )
        )
    return torch.cat(made)


def _sample(
    denoiser: Denoiser,
    codes: Mapping[str, Tensor],
    *,
    noise: Tensor,
    times: Tensor,
    solver: Solver,
    guidance: Guidance,
    known: Tensor | None,
    is_known: Tensor | None,
    on_step: Callable[[int], None] | None,
) -> Tensor:
    """One sample [1, D, T]."""
    state = noise if known is None or is_known is None else torch.where(is_known, known, noise)
    there = [name for name, each in codes.items() if bool((each >= 0).any())]  # others need no row
    for number, (time, to) in enumerate(pairwise(times)):
        share = time / denoiser.process.end
        of_frames = share.expand(1, state.shape[2])
        if is_known is not None:
            of_frames = torch.where(is_known, 0.0, of_frames)
        with on_free_cpus():
            velocity = _guided(denoiser, state, of_frames, codes, guidance.rows(there, float(share)))
        moved = solver.step(state, velocity, time, to)
        state = moved if known is None or is_known is None else torch.where(is_known, known, moved)
        if on_step is not None:
            on_step(number + 1)
    return state


def _guided(
    denoiser: Denoiser,
    state: Tensor,
    time: Tensor,
    codes: Mapping[str, Tensor],
    rows: Sequence[tuple[frozenset[str], float]],
) -> Tensor:
    """The velocity [1, D, T] under all codes, moved away from those under some of them; all in one batch."""
    count = 1 + len(rows)
    batch = {
        name: torch.cat([each, *(torch.full_like(each, -1) if name in out else each for out, _ in rows)])
        for name, each in codes.items()
    }
    velocities = denoiser(state.expand(count, -1, -1), time.expand(count, -1), batch)
    told, velocity = velocities[:1], velocities[:1]
    for (_, scale), other in zip(rows, velocities[1:], strict=True):
        velocity = velocity + scale * (told - other)
    return velocity


def _check(denoiser: Denoiser, codes: Mapping[str, Tensor], frames: int) -> None:
    if frames < 1 or frames % denoiser.fold:
        raise ValueError(f"expected frames in multiples of {denoiser.fold}, got {frames}")
    segments: dict[str, Segment] = {segment.name: segment for segment in denoiser.segments}
    for name, each in codes.items():
        if name not in segments:
            raise ValueError(f"expected codes of {', '.join(segments)}, got some of {name}")
        check_range(segments[name], each, lowest=-1)
