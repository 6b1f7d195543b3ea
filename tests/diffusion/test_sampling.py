"""Latents that are drawn: context that is kept, seeds, guidance, and how often the network is asked."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor

from musiclm.diffusion.denoiser import Denoiser, denoiser_segments
from musiclm.diffusion.process import AngleProcess
from musiclm.diffusion.sampling import Guidance, sample_latents
from musiclm.stages.streams import Stream
from tests.diffusion.test_denoisers import inputs, make

STREAMS = (Stream("mulan", 1, 8, 0.0), Stream("semantic", 1, 8, 25.0), Stream("beat", 1, 8, 25.0))


class Exact(Denoiser):
    """Knows the data: each frame is what its semantic token says, and one more with a MuLan token."""

    process = AngleProcess()
    dimension, frame_rate, fold = 2, 25.0, 1

    def __init__(self) -> None:
        super().__init__()
        self.segments = denoiser_segments(STREAMS, None, unfolded_width=4)
        self.rows: list[int] = []
        self.times: list[Tensor] = []

    def forward(self, state: Tensor, time: Tensor, codes: Mapping[str, Tensor]) -> Tensor:
        self.rows.append(len(state))
        self.times.append(time)
        data = codes["semantic"].clamp_min(0).expand(-1, 2, -1).float()
        data = data + (codes["mulan"] >= 0).float()
        angle = time[:, None] * self.process.end
        noise = (state - angle.cos() * data) / angle.sin().clamp_min(1e-6)
        return self.process.velocity(data, noise, angle)


def seeds(*numbers: int) -> list[torch.Generator]:
    return [torch.Generator().manual_seed(number) for number in numbers]


@pytest.fixture
def codes() -> dict[str, Tensor]:
    semantic = torch.arange(12)[None, None] % 8
    return {"mulan": torch.zeros(1, 1, 1).long(), "semantic": semantic, "beat": torch.full((1, 1, 12), -1)}


@pytest.mark.parametrize("steps", [1, 2, 7])
@pytest.mark.parametrize("order", [1, 2])
def test_a_network_that_knows_the_data_makes_it_in_any_number_of_steps(
    codes: dict[str, Tensor], steps: int, order: int
) -> None:
    denoiser = Exact()
    made = sample_latents(denoiser, codes, frames=12, generators=seeds(0, 1), steps=steps, order=order)
    expected = (codes["semantic"].float() + 1).expand(2, 2, -1)
    torch.testing.assert_close(made, expected, atol=2e-4, rtol=0)
    assert denoiser.rows == [1] * (2 * steps)  # a pass a step, for each sample


def test_known_frames_are_kept_to_the_bit_and_told_as_data(codes: dict[str, Tensor]) -> None:
    denoiser, known = Exact(), torch.randn(1, 2, 12)
    is_known = torch.arange(12) < 5
    made = sample_latents(
        denoiser, codes, frames=12, generators=seeds(0), steps=3, known=known, is_known=is_known
    )
    assert torch.equal(made[..., :5], known[..., :5])
    assert all((time[:, :5] == 0).all() and (time[:, 5:] > 0).all() for time in denoiser.times)
    assert float(denoiser.times[0][0, 5]) == pytest.approx(1.0)


def test_guidance_moves_away_from_what_is_left_out(codes: dict[str, Tensor]) -> None:
    denoiser = Exact()
    plain = sample_latents(denoiser, codes, frames=12, generators=seeds(0), steps=2)
    denoiser.rows.clear()
    by_mulan = Guidance({"mulan": 3.0})
    guided = sample_latents(denoiser, codes, frames=12, generators=seeds(0), steps=2, guidance=by_mulan)
    assert denoiser.rows == [2, 2]
    torch.testing.assert_close(
        guided, plain + 2, atol=1e-3, rtol=0
    )  # a MuLan token adds one; three times that
    both = Guidance({"mulan": 3.0, "beat": 4.0, "nothing": 4.0}, all=2.0)  # and no row for what is absent
    denoiser.rows.clear()
    sample_latents(denoiser, codes, frames=12, generators=seeds(0), steps=1, guidance=both)
    assert denoiser.rows == [3]


def test_guidance_has_an_interval(codes: dict[str, Tensor]) -> None:
    denoiser = Exact()
    guidance = Guidance({"mulan": 3.0}, interval=(0.2, 0.8))
    sample_latents(denoiser, codes, frames=12, generators=seeds(0), steps=10, guidance=guidance)
    shares = [float(time[0, 0]) for time in denoiser.times]
    assert [rows == 2 for rows in denoiser.rows] == [0.2 <= share <= 0.8 for share in shares]


@pytest.mark.parametrize("kind", ["transformer", "dual path, sru"])
def test_a_sample_is_its_generator_s_and_no_other_s(kind: str) -> None:
    denoiser = make(kind)
    _, _, codes = inputs(rows=1, frames=50)
    words = {"frames": 50, "steps": 2, "guidance": Guidance({"mulan": 2.0})}
    both = sample_latents(denoiser, codes, generators=seeds(3, 4), **words)
    assert torch.equal(both[1:], sample_latents(denoiser, codes, generators=seeds(4), **words))
    assert not torch.equal(both[0], both[1])


def test_samples_may_have_conditions_of_their_own(codes: dict[str, Tensor]) -> None:
    two = codes | {"semantic": torch.cat([codes["semantic"], 7 - codes["semantic"] % 8])}
    made = sample_latents(Exact(), two, frames=12, generators=seeds(0, 1), steps=2)
    torch.testing.assert_close(made[:, 0], two["semantic"][:, 0].float() + 1, atol=1e-3, rtol=0)


def test_progress_is_told_step_by_step(codes: dict[str, Tensor]) -> None:
    told: list[int] = []
    sample_latents(Exact(), codes, frames=12, generators=seeds(0), steps=4, on_step=told.append)
    assert told == [1, 2, 3, 4]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"frames": 13}, "expected frames in multiples of 2, got 13"),
        ({"codes": {"dance": torch.zeros(1, 1, 3).long()}}, "expected codes of mulan, .*, got some of dance"),
        ({"codes": {"beat": torch.full((1, 3, 6), 8)}}, "codes of beat must lie in 0 ... 7"),
        ({"steps": 0}, "expected one step or more"),
    ],
)
def test_what_cannot_be_sampled_is_said_so(words: dict[str, object], message: str) -> None:
    asked = {"codes": {}, "frames": 12, "generators": seeds(0)} | words
    with pytest.raises(ValueError, match=message):
        sample_latents(make("transformer"), **asked)  # type: ignore[arg-type]
