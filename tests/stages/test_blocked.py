"""Attention in blocks of queries: plain attention, in values and in every gradient."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from musiclm.stages import blocked
from musiclm.stages.blocked import bias_between, blocked_bias

HEADS, HEAD = 2, 3


def plain(queries: Tensor, keys: Tensor, values: Tensor, by_distance: Tensor) -> Tensor:
    """All scores at once, each with its bias looked up."""
    steps = torch.arange(queries.shape[2])
    distances = steps[:, None] - steps
    scores = queries @ keys.mT * HEAD**-0.5 + by_distance[:, distances.clamp(min=0)]
    return scores.masked_fill(distances < 0, -torch.inf).softmax(-1) @ values


def tensors(length: int, rows: int = 2) -> list[Tensor]:
    """Queries, keys, values, and the bias by distance; seeded."""
    torch.manual_seed(length)
    shapes = [(rows, HEADS, length, HEAD)] * 3 + [(HEADS, length)]
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.fixture(params=[1, 3, 256])
def few_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocked, "QUERIES_AT_ONCE", request.param)


@pytest.mark.usefixtures("few_at_once")
@pytest.mark.parametrize("rows", [1, 2])
@pytest.mark.parametrize("length", [1, 3, 8])
def test_values_and_gradients_are_those_of_plain_attention(length: int, rows: int) -> None:
    inputs = tensors(length, rows)
    results = []
    for attended in (
        plain(*inputs),
        blocked.blocked_attention(*inputs[:3], blocked_bias(inputs[3]), dropout=0.0),
    ):
        weighted = (attended * torch.linspace(-1, 1, attended.numel()).view_as(attended)).sum()
        results.append([attended, *torch.autograd.grad(weighted, inputs)])
    for found, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, expected)


@pytest.mark.usefixtures("few_at_once")
def test_gradients_go_through_the_dropped_weights() -> None:
    def attend(*inputs: Tensor) -> Tensor:
        torch.manual_seed(5)
        return blocked.blocked_attention(*inputs[:3], blocked_bias(inputs[3]), dropout=0.4)

    assert torch.autograd.gradcheck(attend, tensors(7))
    assert not torch.allclose(attend(*tensors(7)), plain(*tensors(7)))


def test_dropped_weights_leave_the_mean_as_it_is() -> None:
    queries, keys, values, by_distance = (tensor.detach() for tensor in tensors(5, rows=1))
    many = [tensor.expand(4000, -1, -1, -1) for tensor in (queries, keys, values)]
    dropped = blocked.blocked_attention(*many, blocked_bias(by_distance), dropout=0.4)
    expected = plain(queries, keys, values, by_distance)
    assert dropped.std(dim=0).mean() > 0.2
    assert (dropped.mean(dim=0) - expected).abs().max() < 0.1  # of 4,000: five standard errors


def test_under_autocast_what_is_float32_stays_so() -> None:
    inputs = [tensor.detach().float().requires_grad_() for tensor in tensors(9)]
    with torch.autocast("cpu", torch.bfloat16):
        attended = blocked.blocked_attention(*inputs[:3], blocked_bias(inputs[3]), dropout=0.0)
        gradients = torch.autograd.grad(attended.square().sum(), inputs)
    expected = plain(*inputs)
    torch.testing.assert_close(attended, expected)
    for found, right in zip(gradients, torch.autograd.grad(expected.square().sum(), inputs), strict=True):
        torch.testing.assert_close(found, right, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("few_at_once")
def test_a_step_has_exactly_no_gradient_from_later_steps() -> None:
    queries, keys, values, by_distance = tensors(8)
    attended = blocked.blocked_attention(queries, keys, values, blocked_bias(by_distance), dropout=0.0)
    for step in range(8):
        gradients = torch.autograd.grad(attended[:, :, step].sum(), [keys, values], retain_graph=True)
        for gradient in gradients:
            assert bool((gradient[:, :, step + 1 :] == 0).all())
        assert bool((gradients[1][:, :, : step + 1] != 0).all())


def test_in_bfloat16_it_is_near_to_float64() -> None:
    rounded = [tensor.detach().bfloat16().requires_grad_() for tensor in tensors(40)]
    exact = [tensor.detach().double().requires_grad_() for tensor in rounded]
    results = []
    for attended, of in (
        (blocked.blocked_attention(*rounded[:3], blocked_bias(rounded[3]), dropout=0.0), rounded),
        (plain(*exact), exact),
    ):
        gradients = torch.autograd.grad(attended.square().sum(), of)
        results.append([tensor.double() for tensor in (attended, *gradients)])
    for found, expected in zip(*results, strict=True):
        assert (found - expected).norm() < 0.02 * expected.norm()  # bfloat16 has eight bits


@settings(deadline=None, max_examples=50)
@given(data=st.data(), length=st.integers(1, 40))
def test_each_query_and_key_have_the_bias_of_their_distance(data: st.DataObject, length: int) -> None:
    end = data.draw(st.integers(1, length))
    start = data.draw(st.integers(0, end - 1))
    by_distance = torch.randn(HEADS, length)
    bias = bias_between(by_distance, start, end)
    assert bias.shape == (HEADS, end - start, end)
    for query in range(start, end):
        past = by_distance[:, : query + 1].flip(1)
        assert torch.equal(bias[:, query - start, : query + 1], past)
        assert bool((bias[:, query - start, query + 1 :] == -torch.inf).all())
