"""The transformer and the stages on it: size, positions, causality, agreement with a plain implementation."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import T5Config
from transformers.models.t5.modeling_t5 import T5Attention

from musiclm.stages import blocked
from musiclm.stages.coarse import Coarse
from musiclm.stages.fine import Fine
from musiclm.stages.semantic import Semantic
from musiclm.stages.stage import Stage
from musiclm.stages.transformer import RelativePositionBias, Transformer, TransformerConfig, distance_buckets
from tests.stages.tiny_stages import STAGES, TINY, make_stage, random_codes, tiny_streams

PAPER = TransformerConfig(width=1024, layers=24, heads=16, feed_forward=4096)  # MusicLM, sec. 4.1


def make_transformer(config: TransformerConfig = TINY) -> Transformer:
    torch.manual_seed(0)
    model = Transformer(config)
    model.initialise()
    with torch.no_grad():
        for parameter in model.parameters():  # nothing at a value that would hide a mistake
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model.eval()


@pytest.mark.parametrize(("stage", "millions"), [(Semantic, 417), (Coarse, 425), (Fine, 424)])
def test_the_papers_size_is_about_430_million_parameters(stage: type[Stage], millions: float) -> None:
    with torch.device("meta"):
        model = stage(PAPER, pattern="flatten")
    count = sum(parameter.numel() for parameter in model.parameters())
    assert count / 1e6 == pytest.approx(430, rel=0.04)  # "430M": MusicLM, sec. 4.1
    assert count / 1e6 == pytest.approx(millions, abs=0.6)


def test_position_bias_is_t5s_for_the_same_weights() -> None:
    t5 = T5Attention(T5Config(num_heads=3, is_decoder=True), has_relative_attention_bias=True)
    ours = RelativePositionBias(3, buckets=32, max_distance=128)
    torch.nn.init.normal_(t5.relative_attention_bias.weight)
    ours.weight.data.copy_(t5.relative_attention_bias.weight)
    length = 300  # well beyond the last bucket
    theirs = t5.compute_bias(length, length)[0]  # [H, S, S]
    past = torch.ones(length, length, dtype=torch.bool).tril()
    bias = ours(length)
    assert torch.equal(bias[:, past], theirs[:, past])
    assert bool((bias[:, ~past] == -torch.inf).all())


def test_near_distances_have_buckets_of_their_own_and_far_ones_share_the_last() -> None:
    buckets = distance_buckets(torch.arange(400), buckets=32, max_distance=128)
    assert buckets[:16].tolist() == list(range(16))
    assert bool((buckets[128:] == 31).all())
    assert bool((buckets.diff() >= 0).all())


def plain_transformer(model: Transformer, x: Tensor) -> Tensor:
    """The same computation in plain words, one head and one position at a time."""
    config, state = model.config, model.state_dict()
    heads, size = config.heads, config.width // config.heads

    def norm(x: Tensor, name: str) -> Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + 1e-6).sqrt() * state[name]

    for layer in range(config.layers):
        at = f"blocks.{layer}."
        q, k, v = (norm(x, at + "attention_norm.weight") @ state[at + "qkv.weight"].T).chunk(3, dim=-1)
        attended = torch.zeros_like(q)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for i in range(x.shape[1]):
                scores = q[:, i : i + 1, part] @ k[:, : i + 1, part].transpose(1, 2) / math.sqrt(size)
                bucket = distance_buckets(
                    torch.arange(i, -1, -1), buckets=config.buckets, max_distance=config.max_distance
                )
                scores = scores + state["position_bias.weight"][bucket, head]
                attended[:, i, part] = (scores.softmax(-1) @ v[:, : i + 1, part])[:, 0]
        x = x + attended @ state[at + "attention_out.weight"].T
        gate, value = (
            norm(x, at + "feed_forward_norm.weight") @ state[at + "feed_forward_in.weight"].T
        ).chunk(2, -1)
        gelu = 0.5 * gate * (1 + torch.tanh(math.sqrt(2 / math.pi) * (gate + 0.044715 * gate**3)))
        x = x + (gelu * value) @ state[at + "feed_forward_out.weight"].T
    return norm(x, "final_norm.weight")


@pytest.mark.parametrize("at_once", [256, 20, 7, 1])
def test_hidden_states_are_those_of_a_plain_implementation(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blocked, "QUERIES_AT_ONCE", at_once)
    model = make_transformer()
    x = torch.randn(2, 20, 16)
    with torch.no_grad():
        torch.testing.assert_close(model(x), plain_transformer(model, x), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("opening", [1, 7, 23])
def test_cached_steps_are_the_uncached_ones_at_every_position(opening: int) -> None:
    model = make_transformer()
    x = torch.randn(3, 24, 16)
    with torch.no_grad():
        whole = model(x)
        cache = model.new_cache(3, 24)
        hidden, cache = model.prefill(x[:, :opening], cache)
        torch.testing.assert_close(hidden, whole[:, :opening], atol=1e-5, rtol=1e-5)
        for step in range(opening, 24):
            hidden, cache = model.decode_step(x[:, step : step + 1], cache)
            torch.testing.assert_close(hidden[:, 0], whole[:, step], atol=1e-5, rtol=1e-5)
    assert cache.length == 24


def test_a_step_has_exactly_no_gradient_from_later_steps() -> None:
    model = make_transformer()
    x = torch.randn(1, 12, 16, requires_grad=True)
    for step in range(12):
        (gradient,) = torch.autograd.grad(model(x)[0, step].sum(), x)
        assert bool((gradient[0, step + 1 :] == 0).all())
        assert bool((gradient[0, : step + 1] != 0).any(dim=1).all())


def test_attention_weights_have_a_dropout_of_their_own() -> None:
    config = TransformerConfig(width=16, layers=1, heads=2, feed_forward=24, dropout=0, attention_dropout=0.5)
    model, x = make_transformer(config), torch.randn(2, 9, 16)
    assert torch.equal(model(x), model(x))
    model.train()
    assert not torch.equal(model(x), model(x))


def test_recomputing_activations_changes_no_gradient() -> None:
    config = TransformerConfig(width=16, layers=3, heads=2, feed_forward=24, dropout=0.3)
    model = make_transformer(config).train()
    x = torch.randn(2, 9, 16)
    gradients = []
    for model.recomputes in (False, True):
        torch.manual_seed(3)  # of dropout
        model.zero_grad()
        model(x).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    for kept, recomputed in zip(*gradients, strict=True):
        torch.testing.assert_close(recomputed, kept)


class Looked(torch.nn.Module):
    """An embedding that records a leaf for each lookup, so that gradients tell which token was used."""

    def __init__(self, weight: Tensor) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(weight)
        self.looked: list[tuple[Tensor, Tensor]] = []

    def forward(self, ids: Tensor) -> Tensor:
        vectors = F.embedding(ids, self.weight).detach().requires_grad_()
        self.looked.append((ids, vectors))
        return vectors


@pytest.mark.parametrize("name", STAGES)
def test_a_code_depends_on_no_code_that_is_due_later(name: str) -> None:
    """Gradient of every code's logits with respect to every embedded token: zero where not yet known."""
    stage, frames = make_stage(name), 6
    layout = stage.layout
    codes = random_codes(stage, frames)
    stage.embedding = Looked(stage.embedding.weight.detach())
    for unfolded in stage.unfolded.values():
        unfolded.embedding = Looked(unfolded.embedding.weight.detach())
    logits = stage(codes)  # [1, Q, T, V]
    looked = stage.embedding.looked
    looked += [pair for unfolded in stage.unfolded.values() for pair in unfolded.embedding.looked]
    steps, last = layout.step_of(frames), layout.steps(frames)
    columns = layout.columns
    read = next(v for ids, v in looked if ids.shape == (1, last, columns) and ids[0, 0, 0] == layout.blank)
    aligned = {  # embedded frames [1, T', levels, E]
        s.name: next(v for ids, v in looked if ids.shape == (1, codes[s.name].shape[2], s.levels))
        for s in layout.aligned
    }
    for level in range(layout.target.levels):
        for frame in range(frames):
            step = int(steps[level, frame])
            wanted = [read, *aligned.values()]
            gradients = torch.autograd.grad(
                logits[0, level, frame].sum(), wanted, retain_graph=True, allow_unused=True
            )
            assert bool((gradients[0][0, step + 1 :] == 0).all())
            assert bool((gradients[0][0, : step + 1] != 0).any(-1).all())
            for segment, gradient in zip(layout.aligned, gradients[1:], strict=True):
                ahead = 0 if segment in layout.unfolded else layout.lookahead
                seen = min(step, frames - 1) // layout.ratio(segment) + ahead
                assert bool((gradient[0, seen + 1 :] == 0).all())
                assert bool((gradient[0, : seen + 1] != 0).any(-1).all())


@pytest.mark.parametrize("name", STAGES)
def test_what_a_step_reads_holds_only_codes_of_earlier_steps(name: str) -> None:
    """Changing a code changes no logit that is due at its step or before, bit for bit."""
    stage, frames = make_stage(name), 5
    codes = random_codes(stage, frames)
    target, steps = stage.layout.target, stage.layout.step_of(5)
    with torch.no_grad():
        before = stage(codes)
        for level in range(target.levels):
            for frame in range(frames):
                changed = {name: value.clone() for name, value in codes.items()}
                changed[target.name][0, level, frame] = (codes[target.name][0, level, frame] + 1) % 8
                after = stage(changed)
                earlier = steps <= steps[level, frame]
                assert torch.equal(after[0][earlier], before[0][earlier])
                if bool((~earlier).any()):
                    assert not torch.equal(after[0][~earlier], before[0][~earlier])


def test_every_condition_reaches_the_logits() -> None:
    for name in STAGES:
        stage = make_stage(name)
        codes = random_codes(stage, 6)
        for segment in stage.layout.conditions:
            changed = {**codes, segment.name: (codes[segment.name] + 1) % 8}
            assert not torch.allclose(stage(changed), stage(codes)), (name, segment.name)


def test_both_halves_of_a_semantic_frame_are_told_apart() -> None:
    stage = make_stage("coarse delay")
    codes = random_codes(stage, 4)
    _, added = stage.embed_conditions(codes, 1, 4)
    assert not torch.allclose(
        added[0, 0], added[0, 1]
    )  # the same 25 Hz token, its first and second 50 Hz frame


@pytest.mark.parametrize("tied", [True, False])
def test_narrow_embeddings_and_tied_heads_make_a_stage_smaller(tied: bool) -> None:
    config = TransformerConfig(
        width=16, layers=1, heads=2, feed_forward=24, embedding_width=4, tie_embeddings=tied
    )
    stage = Fine(config, pattern="delay", num_coarse=2, streams=tiny_streams(levels=5))
    assert stage.embedding.weight.shape == (stage.layout.vocabulary_size, 4)
    assert stage(random_codes(stage, 5)).shape == (1, 3, 5, 8)
    assert (stage.head is None) == tied


@pytest.mark.parametrize("values", [{"heads": 3}, {"layers": 0}, {"dropout": 1.0}])
def test_sizes_that_make_no_transformer_are_refused(values: dict) -> None:
    sizes = {"width": 16, "layers": 2, "heads": 2, "feed_forward": 24, **values}
    with pytest.raises(ValueError, match="must"):
        TransformerConfig(**sizes)
