"""Adapters: they begin as nothing, they alone learn, and merged they say what they said attached."""

import copy

import pytest
import torch

from musiclm.bundle import build
from musiclm.stages.adapters import MATRICES, BlockSizes, LoraConfig, StageAdapter, attach, merge
from musiclm.stages.decoding import sample_codes
from musiclm.stages.precision import prepare_to_decode
from musiclm.stages.stage import Stage
from tests.stages.tiny_stages import STAGES, conditions_of, make_stage, random_codes

KINDS = [LoraConfig(rank=2), LoraConfig(rank=2, dora=True), LoraConfig(rank=3, matrices=("qkv",))]


def adapter_of(stage: Stage, config: LoraConfig, *, seed: int = 0) -> StageAdapter:
    """One that has learned something."""
    torch.manual_seed(seed)
    adapter = StageAdapter(config, sizes=BlockSizes.of(stage))
    with torch.no_grad():
        for name, value in adapter.named_parameters():
            value.add_(torch.randn_like(value) * (0.05 if name.endswith("gain") else 0.2))
    return adapter.eval()


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize("name", STAGES)
def test_an_adapted_stage_begins_as_its_base_to_the_bit(name: str, config: LoraConfig) -> None:
    stage = make_stage(name)
    codes = random_codes(stage, 12)
    before = stage(codes)
    after = attach(stage, StageAdapter(config, sizes=BlockSizes.of(stage)))(codes)
    assert torch.equal(after, before)


@pytest.mark.parametrize("config", KINDS)
def test_the_adapter_alone_learns(config: LoraConfig) -> None:
    stage = make_stage("coarse delay")
    base = copy.deepcopy(stage.state_dict())
    adapter = StageAdapter(config, sizes=BlockSizes.of(stage))
    attach(stage, adapter)
    learning = {id(value) for value in stage.parameters() if value.requires_grad}
    assert learning == {id(value) for value in adapter.parameters()}
    stage(random_codes(stage, 12)).square().mean().backward()
    optimizer = torch.optim.SGD(stage.parameters(), lr=1.0)
    optimizer.step()
    after = {key.replace(".matrix.", "."): value for key, value in stage.state_dict().items()}
    assert all(torch.equal(after[key], value) for key, value in base.items())
    assert any(change.up.any() for change in adapter.changes(0).values())


@pytest.mark.parametrize("config", KINDS)
@pytest.mark.parametrize("name", STAGES)
def test_merged_it_says_what_it_said_attached(name: str, config: LoraConfig) -> None:
    stage = make_stage(name)
    adapter = adapter_of(stage, config)
    codes = random_codes(stage, 12)
    base = stage(codes)
    merged = merge(copy.deepcopy(stage), [(adapter, 1.0)])(codes)
    attached = attach(stage, adapter)(codes)
    assert (attached - base).abs().max() > 1e-2
    # Sums in another order, in float32
    torch.testing.assert_close(merged, attached, atol=2e-5, rtol=1e-4)


def test_a_scale_of_nothing_is_the_base_and_several_adapters_add_up() -> None:
    stage = make_stage("semantic delay")
    adapters = [adapter_of(stage, config, seed=seed) for seed, config in enumerate(KINDS)]
    none = merge(copy.deepcopy(stage), [(each, 0.0) for each in adapters])
    for one, other in zip(none.parameters(), stage.parameters(), strict=True):
        assert torch.equal(one, other)
    both = merge(copy.deepcopy(stage), [(adapters[0], 1.0), (adapters[1], 0.5)])
    turned = merge(copy.deepcopy(stage), [(adapters[1], 0.5), (adapters[0], 1.0)])
    for number, block in enumerate(stage.transformer.blocks):
        for name in MATRICES:
            weight = getattr(block, name).weight
            first, second = (each.changes(number)[name].delta(weight) for each in adapters[:2])
            for made in (both, turned):
                found = getattr(made.transformer.blocks[number], name).weight
                torch.testing.assert_close(found, weight + first + 0.5 * second)


def test_dora_keeps_the_length_of_each_row_that_its_gain_leaves() -> None:
    stage = make_stage("semantic delay")
    adapter = adapter_of(stage, LoraConfig(rank=2, dora=True))
    with torch.no_grad():
        for change in adapter.changes(0).values():
            change.gain.fill_(1.0)
    before = stage.transformer.blocks[0].qkv.weight.norm(dim=1)
    after = merge(copy.deepcopy(stage), [(adapter, 1.0)]).transformer.blocks[0].qkv.weight.norm(dim=1)
    torch.testing.assert_close(after, before)


def test_a_merged_stage_decodes_as_any_other() -> None:
    stage = make_stage("semantic delay")
    merge(stage, [(adapter_of(stage, LoraConfig(rank=2)), 1.0)])
    prepared = prepare_to_decode(copy.deepcopy(stage))
    conditions = conditions_of(stage, random_codes(stage, 12))
    drawn = [sample_codes(each, conditions, frames=12, temperature=0) for each in (stage, prepared)]
    assert torch.equal(*drawn)


def test_an_adapter_is_built_again_of_its_values() -> None:
    stage = make_stage("semantic delay")
    adapter = adapter_of(stage, LoraConfig(rank=3, alpha=4.0, matrices=("qkv", "attention_out"), dora=True))
    again = build("musiclm.stages.adapters.StageAdapter", adapter.init_args())
    again.load_state_dict(adapter.state_dict())
    assert again.init_args() == adapter.init_args()
    assert [change.scale for change in again.changes(1).values()] == [4 / 3, 4 / 3]


def test_a_stage_of_another_size_is_refused() -> None:
    stage = make_stage("semantic delay")
    other = StageAdapter(LoraConfig(), sizes=BlockSizes(8, 24, 2))
    for use in (lambda: attach(stage, other), lambda: merge(stage, [(other, 1.0)])):
        with pytest.raises(ValueError, match=r"an adapter of blocks of the sizes .*width=16.* got .*width=8"):
            use()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"rank": 0}, "rank of 1 or more"),
        ({"alpha": 0.0}, "alpha above 0"),
        ({"dropout": 1.0}, r"dropout in \[0, 1\)"),
        ({"matrices": ()}, "expected different matrices"),
        ({"matrices": ("head",)}, "got 'head'"),
    ],
)
def test_values_out_of_range_are_refused(values: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        LoraConfig(**values)
