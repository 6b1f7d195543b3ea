"""Every denoiser: shapes, conditions that may be absent, context, sizes, and what moves them."""

import copy
from collections.abc import Mapping
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from musiclm.diffusion.denoiser import Denoiser, TimeEmbedding, folded, unfolded
from musiclm.diffusion.dual_path import SRU, DualPath
from musiclm.diffusion.transformer import DiffusionTransformer
from musiclm.stages.adapters import BlockSizes, LoraConfig, StageAdapter, attach, merge
from musiclm.stages.conditions import CombinedCondition
from musiclm.stages.streams import Stream

STREAMS = (
    Stream("mulan", 2, 8, 0.0),
    Stream("semantic", 1, 8, 25.0),
    Stream("acoustic", 3, 8, 50.0),
    Stream("melody", 2, 8, 1 / 3),
    Stream("beat", 3, 8, 25.0),
)
SMALL: dict[str, Any] = {
    "dimension": 4, "width": 16, "heads": 2, "feed_forward": 24, "embedding_width": 8, "unfolded_width": 8,
    "frame_rate": 50.0, "streams": STREAMS,
}  # fmt: skip
FRAMES = 150


def make(kind: str) -> Denoiser:
    torch.manual_seed(0)
    made: Denoiser
    if kind == "transformer":
        made = DiffusionTransformer(**SMALL, layers=2, combined=("beat",))
    else:
        recurrence: Any = kind.removeprefix("dual path, ")
        made = DualPath(**SMALL, blocks=2, segment=8, recurrence=recurrence)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return made.eval()


@pytest.fixture(scope="module", params=["transformer", "dual path, sru", "dual path, gru"])
def denoiser(request: pytest.FixtureRequest) -> Denoiser:
    return make(request.param)


def inputs(rows: int = 2, frames: int = FRAMES) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    state = torch.randn(rows, 4, frames, generator=generator)
    time = torch.rand(rows, frames, generator=generator)
    codes = {
        stream.name: torch.randint(
            8, (rows, stream.levels, max(round(frames / 50 * stream.rate), 1)), generator=generator
        )
        for stream in STREAMS
        if stream.name != "acoustic"
    }
    return state, time, codes


def without(codes: Mapping[str, Tensor], name: str) -> dict[str, Tensor]:
    return {other: each for other, each in codes.items() if other != name}


@pytest.mark.parametrize("frames", [2, 38, FRAMES])
def test_velocities_are_as_many_as_latents(denoiser: Denoiser, frames: int) -> None:
    state, time, codes = inputs(frames=frames)
    out = denoiser(state, time, codes)
    assert out.shape == state.shape
    assert out.isfinite().all()


@pytest.mark.parametrize("name", ["mulan", "semantic", "melody", "beat"])
def test_each_condition_counts_and_may_be_absent_in_any_way(denoiser: Denoiser, name: str) -> None:
    state, time, codes = inputs()
    missing = denoiser(state, time, without(codes, name))
    assert not torch.allclose(denoiser(state, time, codes), missing, atol=1e-4)
    absent = codes | {name: torch.full_like(codes[name], -1)}
    torch.testing.assert_close(denoiser(state, time, absent), missing, atol=1e-5, rtol=1e-5)
    in_one = codes | {name: torch.stack([codes[name][0], absent[name][1]])}
    mixed = denoiser(state, time, in_one)
    torch.testing.assert_close(mixed[1], missing[1], atol=1e-5, rtol=1e-5)


def test_what_levels_mean_together_is_told_of_each_combination_by_itself() -> None:
    """One entry changes nothing but the frames of its combination, of which no level's embedding knows."""
    combined = cast(CombinedCondition, make("transformer").told.combined["beat"])
    codes = torch.tensor([[[1, 1, 1, -1], [2, 2, 3, 2], [3, 4, 3, 3]]])
    before = combined(codes, 4, 4)
    with torch.no_grad():
        combined.embedding.weight[1 + 8 * 2 + 64 * 3] += 1.0
    changed = (combined(codes, 4, 4) - before)[0].abs().amax(dim=1)
    assert changed[0] > 0.1
    assert torch.equal(changed[1:], torch.zeros(3))
    combined.initialise()
    assert not combined(codes, 4, 4).any()  # silent at first, beside weights that have learned without it


def test_semantic_tokens_are_heard_at_their_time() -> None:
    """Of the transformer without its attention's reach: the frames of a changed token move the most."""
    denoiser = make("transformer")
    state, time, codes = inputs()
    changed = {**codes, "semantic": codes["semantic"].clone()}
    changed["semantic"][:, :, 40] = (changed["semantic"][:, :, 40] + 3) % 8
    moved = (denoiser(state, time, changed) - denoiser(state, time, codes)).abs().mean(dim=(0, 1))
    assert int(moved.view(-1, 2).mean(dim=1).argmax()) == 40  # two frames to a token


def test_rows_do_not_see_each_other(denoiser: Denoiser) -> None:
    state, time, codes = inputs()
    alone = denoiser(state[1:], time[1:], {name: each[1:] for name, each in codes.items()})
    torch.testing.assert_close(denoiser(state, time, codes)[1:], alone, atol=1e-5, rtol=1e-5)


def test_every_frame_sees_all_of_the_window_in_both_directions(denoiser: Denoiser) -> None:
    state, time, codes = inputs(rows=1)
    state.requires_grad_()
    for frame in (0, FRAMES - 1):
        (gradient,) = torch.autograd.grad(denoiser(state, time, codes)[0, :, frame].sum(), state)
        reached = gradient[0].abs().sum(dim=0) > 0
        assert reached[0]
        assert reached[-1]


def test_every_weight_learns(denoiser: Denoiser) -> None:
    state, time, codes = inputs()
    half = {name: torch.where(torch.arange(2)[:, None, None] == 0, each, -1) for name, each in codes.items()}
    denoiser.zero_grad()
    denoiser(state, time, half).square().mean().backward()
    still = [name for name, each in denoiser.named_parameters() if each.grad is None or not each.grad.any()]
    assert still == []


def test_codes_begin_as_what_they_stand_for() -> None:
    denoiser = make("transformer")
    entries = torch.randn(1, 8, 6)
    denoiser.start_from({"semantic": entries})
    table = denoiser.told.tables["semantic"]
    assert isinstance(table, nn.Embedding)
    ours, theirs = (torch.cdist(each, each) for each in (table.weight.detach(), entries[0]))
    correlation = torch.corrcoef(torch.stack([ours.flatten(), theirs.flatten()]))[0, 1]
    assert float(correlation) > 0.9


def test_the_papers_size_has_the_papers_weights() -> None:
    with torch.device("meta"):
        denoiser = DualPath(conditions=[])
    weights = sum(each.numel() for each in denoiser.parameters())
    assert weights == pytest.approx(296.6e6, rel=0.001)  # MeLoDy, table 4
    assert len(denoiser.blocks) == 8
    assert denoiser._cut(torch.zeros(1, 2500, 1)).shape[1:3] == (80, 64)


def test_segments_that_are_cut_and_joined_are_the_frames_twice() -> None:
    denoiser = make("dual path, sru")
    assert isinstance(denoiser, DualPath)
    for length in (1, 4, 31, 32):
        frames = torch.randn(2, length, 3)
        torch.testing.assert_close(denoiser._joined(denoiser._cut(frames), length), 2 * frames)


def test_recurrent_units_are_those_of_the_paper_step_by_step() -> None:
    torch.manual_seed(0)
    layer, x = SRU(3, 2), torch.randn(1, 5, 3)
    nn.init.normal_(layer.from_state)
    nn.init.normal_(layer.bias)
    mixed = layer.matrix(x).view(5, 2, 4, 2)
    state, expected = torch.zeros(2), []
    for candidate, forget, reset, around in mixed[:, 0]:
        f = torch.sigmoid(forget + layer.from_state[0, 0] * state + layer.bias[0, 0])
        r = torch.sigmoid(reset + layer.from_state[0, 1] * state + layer.bias[0, 1])
        state = f * state + (1 - f) * candidate
        expected.append(r * state + (1 - r) * around)
    torch.testing.assert_close(layer(x)[0, :, :2], torch.stack(expected))
    same = SRU(3, 2)
    same.load_state_dict(layer.state_dict())
    with torch.no_grad():  # the second direction with the first one's weights is the first one backwards
        same.matrix.weight.view(2, 4, 2, 3)[1] = same.matrix.weight.view(2, 4, 2, 3)[0]
        same.from_state[1], same.bias[1] = same.from_state[0], same.bias[0]
    torch.testing.assert_close(same(x.flip(1))[0, :, 2:].flip(0), same(x)[0, :, :2])


def test_times_lie_on_an_arc() -> None:
    embedding = TimeEmbedding(8, arc=4)
    time = torch.tensor([0.0, 0.25, 0.5, 1.0])
    out = embedding(time)
    assert out.shape == (4, 8)
    torch.testing.assert_close(out[0], embedding.mlp(embedding.start))
    torch.testing.assert_close(out[3], embedding.mlp(embedding.end), atol=1e-5, rtol=1e-4)


def test_folding_keeps_every_number() -> None:
    frames = torch.randn(2, 3, 8)
    assert torch.equal(unfolded(folded(frames, 4), 4), frames)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"width": 15}, "expected a width that heads of an even width share"),
        ({"conditions": ["mulan", "dance"]}, "expected conditions that there are tokens of"),
        ({"frame_rate": 40.0, "fold": 1}, "to hold whole positions, of which there are 40 a second"),
        (
            {"combined": ["melody"]},
            "expected combined conditions with a clock, short frames and 16,384 entries",
        ),
        ({"process": "cold"}, "expected a process of angle, flow"),
    ],
)
def test_what_makes_no_network_is_said_so(words: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DiffusionTransformer(**SMALL | words)


def test_an_adapter_begins_as_nothing_and_merged_says_what_it_says_attached() -> None:
    plain = make("transformer")
    state, time, codes = inputs()
    adapter = StageAdapter(LoraConfig(rank=2), sizes=BlockSizes.of(plain))
    before = plain(state, time, codes)
    assert torch.equal(attach(copy.deepcopy(plain), adapter)(state, time, codes), before)
    with torch.no_grad():
        for value in adapter.parameters():
            value.add_(torch.randn_like(value) * 0.2)
    attached = attach(copy.deepcopy(plain), adapter)(state, time, codes)
    assert (attached - before).abs().max() > 1e-2
    merged = merge(copy.deepcopy(plain), [(adapter, 1.0)])(state, time, codes)
    torch.testing.assert_close(merged, attached, atol=2e-5, rtol=1e-4)


def test_melodys_network_has_no_matrices_that_an_adapter_changes() -> None:
    with pytest.raises(ValueError, match="a network whose blocks an adapter can change, a DualPath has none"):
        BlockSizes.of(make("dual path, sru"))
