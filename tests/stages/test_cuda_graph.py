"""The step that is captured on a GPU: the same music, however far it reaches, however often it is used."""

import gc

import pytest
import torch
from torch import Tensor

import musiclm.stages.cuda_graph as cuda_graph
from musiclm.stages.cuda_graph import CudaGraphStep
from musiclm.stages.decoding import sample_codes
from musiclm.stages.precision import prepare_to_decode
from musiclm.stages.transformer import Transformer
from tests.stages.tiny_stages import TINY, conditions_of, make_stage, random_codes


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Transformer:
    monkeypatch.setattr(cuda_graph, "REACH", 8)
    torch.manual_seed(0)
    model = Transformer(TINY).eval().requires_grad_(False)
    torch.nn.init.normal_(model.position_bias.weight)
    return model


def hidden_states(model: Transformer, x: Tensor, opening: int) -> Tensor:
    cache = model.new_cache(*x.shape[:2])
    first, cache = model.prefill(x[:, :opening], cache)
    rest = [model.decode_step(x[:, step : step + 1], cache)[0] for step in range(opening, x.shape[1])]
    return torch.cat([first, *rest], dim=1)


@pytest.mark.parametrize("opening", [1, 8, 21])
def test_fixed_shapes_change_no_step(model: Transformer, opening: int) -> None:
    x = torch.randn(3, 30, TINY.width)  # beyond several reaches
    eager = hidden_states(model, x, opening)
    model.fused_step = CudaGraphStep(model)
    torch.testing.assert_close(hidden_states(model, x, opening), eager, atol=1e-6, rtol=1e-5)


def test_a_cache_is_lent_again_and_remembers_nothing(model: Transformer) -> None:
    first, second = torch.randn(2, 2, 20, TINY.width)
    alone = hidden_states(model, second, 3)
    model.fused_step = step = CudaGraphStep(model)
    hidden_states(model, first, 3)
    gc.collect()
    (kept,) = step.free
    torch.testing.assert_close(hidden_states(model, second, 3), alone, atol=1e-6, rtol=1e-5)
    gc.collect()
    (again,) = step.free
    assert again is kept  # the same memory, and the graphs recorded with it
    assert sorted(kept.graphs) == [8, 16, 24]


def test_a_generation_that_went_wrong_spoils_no_later_one(model: Transformer) -> None:
    model.fused_step = CudaGraphStep(model)
    wrong = torch.randn(1, 20, TINY.width).index_fill(1, torch.tensor([15]), torch.nan)
    with torch.inference_mode():
        assert hidden_states(model, wrong, 3).isnan().any()
    gc.collect()
    with torch.no_grad():
        assert hidden_states(model, torch.randn(1, 20, TINY.width), 3).isfinite().all()


def test_only_the_latest_caches_are_kept(model: Transformer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_graph, "KEPT", 3)
    model.fused_step = step = CudaGraphStep(model)
    for length in range(1, 100, 8):
        model.new_cache(2, length)
    gc.collect()
    assert len(step.free) == 3


def test_two_generations_at_once_do_not_share_a_cache(model: Transformer) -> None:
    model.fused_step = CudaGraphStep(model)
    one, other = model.new_cache(1, 8), model.new_cache(1, 8)
    assert one.keys.data_ptr() != other.keys.data_ptr()


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize("name", ["semantic flatten", "coarse delay"])
def test_a_captured_graph_draws_what_eager_steps_draw(name: str) -> None:
    stage = make_stage(name).cuda()
    codes = random_codes(stage, 300)
    prepare_to_decode(stage, "float32")
    graph = sample_codes(stage, conditions_of(stage, codes), frames=300, temperature=0)
    stage.transformer.fused_step = None
    assert torch.equal(graph, sample_codes(stage, conditions_of(stage, codes), frames=300, temperature=0))
