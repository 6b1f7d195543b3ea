"""Flex attention: the same values and gradients as ours, and only where it can train."""

import pytest
import torch

from musiclm.stages import flex
from musiclm.stages.blocked import blocked_bias
from musiclm.stages.transformer import RelativePositionBias, Transformer, TransformerConfig, attention
from musiclm.training.stages import compile_blocks
from tests.compiling import COMPILES
from tests.stages.tiny_stages import make_stage, random_codes

pytestmark = COMPILES
CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.fixture(autouse=True)
def traced_not_lowered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forward and backward as the kernel is given them, in plain operations: none trains on a CPU."""
    monkeypatch.setattr(flex, "BACKEND", "aot_eager")


@pytest.mark.parametrize("length", [1, 40, 128, 130])
def test_flex_attention_is_ours_in_values_and_in_every_gradient(length: int) -> None:
    torch.manual_seed(0)
    table = RelativePositionBias(2, buckets=8, max_distance=32)
    torch.nn.init.normal_(table.weight)
    tensors = [torch.randn(2, 2, length, 16, requires_grad=True) for _ in range(3)]
    results = []
    for way in (
        lambda: attention(*tensors, blocked_bias(table.by_distance(length)), dropout=0.0),
        lambda: attention(*tensors, flex.flex_bias(table.by_distance, length), dropout=0.0),
    ):
        attended = way()
        weighted = (attended * torch.linspace(-1, 1, attended.numel()).view_as(attended)).sum()
        results.append([attended, *torch.autograd.grad(weighted, [*tensors, table.weight])])
    for found, expected in zip(results[1], results[0], strict=True):
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("recomputes", [False, True])
@pytest.mark.parametrize("compiled", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_stage_trains_alike_by_flex_attention(
    recomputes: bool, compiled: bool, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    codes = random_codes(make_stage("coarse flatten"), 20)
    gradients = []
    for by_flex in (False, True):
        monkeypatch.setattr(flex, "serves", lambda by_flex=by_flex, **_: by_flex)
        stage = make_stage("coarse flatten").train()
        stage.transformer.recomputes = recomputes
        if compiled:
            compile_blocks(stage, "aot_eager")
        with torch.autocast("cpu", torch.bfloat16, enabled=dtype == torch.bfloat16):
            logits = stage(codes)
        logits.float().square().mean().backward()
        gradients.append({name: parameter.grad for name, parameter in stage.named_parameters()})
    assert bool(gradients[1]["transformer.position_bias.weight"].any())
    for name, expected in gradients[0].items():
        apart = (gradients[1][name] - expected).norm() / expected.norm()
        assert apart < (1e-5 if dtype == torch.float32 else 0.05), name  # 8 bits of mantissa: a few percent


def test_flex_attention_serves_training_on_cuda_without_dropout_of_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert flex.serves(device=CUDA, head=64, dropout=0.0)
    assert not flex.serves(device=CUDA, head=64, dropout=0.1)
    assert not flex.serves(device=CUDA, head=8, dropout=0.0)
    assert not flex.serves(device=CPU, head=64, dropout=0.0)
    monkeypatch.setattr(flex, "serves", lambda **_: True)
    model = Transformer(TransformerConfig(width=16, layers=1, heads=1, feed_forward=8))
    assert isinstance(model.train()._bias(4), flex.FlexBias)
    assert not isinstance(model.eval()._bias(4), flex.FlexBias)  # no compiling for every prompt's length


def test_dropout_of_attention_weights_is_the_others_unless_given() -> None:
    sizes = {"width": 16, "layers": 1, "heads": 1, "feed_forward": 8, "dropout": 0.3}
    assert Transformer(TransformerConfig(**sizes)).blocks[0].attention_dropout == 0.3
    assert Transformer(TransformerConfig(**sizes, attention_dropout=0.0)).blocks[0].attention_dropout == 0
    with pytest.raises(ValueError, match="dropout must lie in"):
        TransformerConfig(**sizes, attention_dropout=1.0)
