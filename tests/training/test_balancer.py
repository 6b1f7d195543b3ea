"""The balancer: weights are shares of the gradient, whatever the losses' scales."""

import pytest
import torch
from torch import Tensor

from musiclm.training.balancer import DECAY, Balancer

BATCH = 2


def pull(balancer: Balancer, **scales: float) -> Tensor:
    """Gradient [2] of an example, which loss `a` pulls along the first axis and `b` along the second."""
    output = torch.zeros(BATCH, 2, requires_grad=True)
    axes = {"a": 0, "b": 1}
    losses = {name: scale * output[:, axes[name]].mean() for name, scale in scales.items()}
    balancer(losses, output).backward()
    assert output.grad is not None
    assert torch.equal(output.grad[0], output.grad[1])
    return BATCH * output.grad[0]  # as in a mean over the batch


def test_weights_are_shares_whatever_the_scale_of_a_loss() -> None:
    for scales in ({"a": 1.0, "b": 1.0}, {"a": 1e-3, "b": 1e4}):
        torch.testing.assert_close(pull(Balancer({"a": 3.0, "b": 1.0}), **scales), torch.tensor([0.75, 0.25]))


def test_a_loss_that_is_not_there_yet_or_weighs_nothing_has_no_part() -> None:
    torch.testing.assert_close(pull(Balancer({"a": 3.0, "b": 1.0}), a=5.0), torch.tensor([1.0, 0.0]))
    torch.testing.assert_close(pull(Balancer({"a": 3.0, "b": 0.0}), a=5.0, b=5.0), torch.tensor([1.0, 0.0]))


def test_a_loss_that_pulls_harder_than_usual_is_heard() -> None:
    balancer = Balancer({"a": 1.0, "b": 1.0})
    pull(balancer, a=1.0, b=1.0)
    usual = (DECAY * 1.0 + 4.0) / (DECAY + 1.0)  # of loss `a`: the norms 1 and 4
    torch.testing.assert_close(pull(balancer, a=4.0, b=1.0), torch.tensor([0.5 * 4.0 / usual, 0.5]))


def test_a_loss_that_does_not_pull_at_all_is_harmless() -> None:
    torch.testing.assert_close(pull(Balancer({"a": 1.0, "b": 1.0}), a=0.0, b=2.0), torch.tensor([0.0, 0.5]))


def test_its_averages_are_saved() -> None:
    balancer, other = Balancer({"a": 1.0, "b": 1.0}), Balancer({"a": 1.0, "b": 1.0})
    pull(balancer, a=1.0, b=1.0)
    other.load_state_dict(balancer.state_dict())
    assert torch.equal(pull(other, a=4.0, b=1.0), pull(balancer, a=4.0, b=1.0))


@pytest.mark.parametrize("weights", [{}, {"a": 0.0}, {"a": 1.0, "b": -1.0}])
def test_weights_that_share_nothing_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected weights of 0 or more"):
        Balancer(weights)
