"""Generation: what comes out is what the uncached model says, within its ranges, the same for a seed."""

import pytest
import torch
from torch import Tensor

from musiclm.stages.decoding import sample, sample_codes
from musiclm.stages.layout import ABSENT
from tests.stages.tiny_stages import STAGES, conditions_of, make_stage, random_codes

GUIDED = [name for name in STAGES if "fine" not in name]


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("name", STAGES)
@pytest.mark.parametrize("known", [0, 3])
def test_greedy_codes_are_the_uncached_models_at_every_step(name: str, known: int) -> None:
    """Each drawn code is the arg max of the logits of a whole forward pass over the result."""
    stage, frames = make_stage(name), 9
    codes = random_codes(stage, frames, batch=2)
    target = stage.layout.target.name
    prompt = codes[target][:, :, :known] if known else None
    drawn = sample_codes(stage, conditions_of(stage, codes), frames=frames, prompt=prompt, temperature=0)
    with torch.no_grad():
        logits = stage({**codes, target: drawn})  # [B, Q, T, V]
    assert torch.equal(drawn[:, :, known:], logits.argmax(-1)[:, :, known:])
    if prompt is not None:
        assert torch.equal(drawn[:, :, :known], prompt)


@pytest.mark.parametrize("name", STAGES)
def test_cached_logits_are_the_uncached_ones_at_every_step(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage, frames = make_stage(name), 7
    codes = random_codes(stage, frames, batch=2)
    target = stage.layout.target.name
    seen: list[Tensor] = []

    def spy(logits: Tensor, **options: object) -> Tensor:
        seen.append(logits)
        return sample(logits, **options)

    monkeypatch.setattr("musiclm.stages.decoding.sample", spy)
    drawn = sample_codes(stage, conditions_of(stage, codes), frames=frames, generator=seeded())
    with torch.no_grad():
        whole = stage({**codes, target: drawn})  # [B, Q, T, V]
    steps = stage.layout.step_of(frames)
    assert len(seen) == stage.layout.steps(frames)
    for step, logits in enumerate(seen):
        for row, level in enumerate(stage.layout.due(step, frames)):
            frame = int((steps[level] == step).nonzero())
            torch.testing.assert_close(logits[:, row], whole[:, level, frame], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("name", STAGES)
def test_every_sampled_code_lies_in_its_codebook(name: str) -> None:
    stage = make_stage(name)
    codes = random_codes(stage, 12, batch=3)
    drawn = sample_codes(stage, conditions_of(stage, codes), frames=12, temperature=50.0, generator=seeded())
    target = stage.layout.target
    assert drawn.shape == (3, target.levels, 12)
    assert drawn.dtype == torch.int64
    assert int(drawn.min()) >= 0
    assert int(drawn.max()) < target.codebook_size
    assert drawn.unique().numel() == target.codebook_size  # so hot that all codes come up


@pytest.mark.parametrize("name", STAGES)
def test_a_row_of_a_batch_is_what_it_is_alone(name: str) -> None:
    stage = make_stage(name)
    codes = conditions_of(stage, random_codes(stage, 8, batch=3))
    batch = sample_codes(stage, codes, frames=8, temperature=0)
    for row in range(3):
        alone = {name: value[row : row + 1] for name, value in codes.items()}
        assert torch.equal(sample_codes(stage, alone, frames=8, temperature=0)[0], batch[row])


@pytest.mark.parametrize("name", STAGES)
def test_a_prompt_goes_on_as_if_it_had_been_drawn(name: str) -> None:
    stage = make_stage(name)
    conditions = conditions_of(stage, random_codes(stage, 10))
    whole = sample_codes(stage, conditions, frames=10, temperature=0)
    for known in (1, 4, 9, 10):
        again = sample_codes(stage, conditions, frames=10, prompt=whole[:, :, :known], temperature=0)
        assert torch.equal(again, whole)


def test_the_same_seed_draws_the_same_codes_and_another_one_others() -> None:
    stage = make_stage("coarse delay")
    conditions = conditions_of(stage, random_codes(stage, 12))
    first = sample_codes(stage, conditions, frames=12, generator=seeded(1))
    torch.rand(7)  # the global generator has no say
    assert torch.equal(sample_codes(stage, conditions, frames=12, generator=seeded(1)), first)
    assert not torch.equal(sample_codes(stage, conditions, frames=12, generator=seeded(2)), first)


@pytest.mark.parametrize("name", GUIDED)
def test_guidance_of_one_is_off_and_more_weighs_the_condition_more(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = make_stage(name)
    codes = random_codes(stage, 4)
    conditions = conditions_of(stage, codes)
    seen: list[Tensor] = []

    def spy(logits: Tensor, **options: object) -> Tensor:
        seen.append(logits)
        return sample(logits, **options)

    monkeypatch.setattr("musiclm.stages.decoding.sample", spy)

    def first_logits(conditions: dict[str, Tensor | None], guidance: float, by: dict | None = None) -> Tensor:
        seen.clear()
        sample_codes(stage, conditions, frames=4, temperature=0, guidance=guidance, guidance_by=by)
        return seen[0]

    guided = first_logits(conditions, 1.0)
    optional = [segment.name for segment in stage.layout.conditions if segment.optional]
    dropped = {name: torch.full_like(codes[name], ABSENT) for name in optional}
    absent = first_logits({**conditions, **dropped}, 1.0)
    assert torch.equal(first_logits({**conditions, **dict.fromkeys(optional)}, 1.0), absent)
    missing = {name: value for name, value in conditions.items() if name not in optional}
    assert torch.equal(first_logits(missing, 1.0), absent)
    assert not torch.allclose(guided, absent)
    expected = absent + 2.5 * (guided - absent)
    torch.testing.assert_close(first_logits(conditions, 2.5), expected, atol=1e-4, rtol=1e-4)
    # By one condition on its own, beside or without the guidance by all
    one = optional[0]
    without = first_logits({**conditions, one: None}, 1.0)
    by_one = first_logits(conditions, 2.5, {one: 1.5})
    torch.testing.assert_close(by_one, expected + 1.5 * (guided - without), atol=1e-4, rtol=1e-4)
    by_one = first_logits(conditions, 1.0, {one: 1.5})
    torch.testing.assert_close(by_one, guided + 1.5 * (guided - without), atol=1e-4, rtol=1e-4)
    assert torch.equal(first_logits(conditions, 1.0, {one: 0.0}), guided)


def test_progress_counts_the_new_frames() -> None:
    for name in STAGES:
        stage = make_stage(name)
        codes = random_codes(stage, 6)
        done: list[int] = []
        prompt = codes[stage.layout.target.name][:, :, :2]
        sample_codes(stage, conditions_of(stage, codes), frames=6, prompt=prompt, on_step=done.append)
        assert done[0] == 1
        assert done[-1] == 4
        assert done == sorted(done)


def test_sampling_follows_the_distribution() -> None:
    logits = torch.tensor([0.5, 0.3, 0.15, 0.05]).log().expand(20_000, 4)
    drawn = sample(logits, temperature=1.0, generator=seeded())
    shares = drawn.bincount(minlength=4) / 20_000
    torch.testing.assert_close(shares, torch.tensor([0.5, 0.3, 0.15, 0.05]), atol=0.015, rtol=0)
    sharper = sample(logits, temperature=0.5, generator=seeded()).bincount(minlength=4) / 20_000
    expected = torch.tensor([0.25, 0.09, 0.0225, 0.0025]) / 0.365  # squares, normalised
    torch.testing.assert_close(sharper, expected, atol=0.015, rtol=0)


@pytest.mark.parametrize(
    ("options", "kept"),
    [({"top_k": 2}, {1, 3}), ({"top_p": 0.6}, {1, 3}), ({"top_p": 0.4}, {3}), ({"top_k": 9}, {0, 1, 2, 3})],
)
def test_top_k_and_top_p_keep_the_likeliest_codes_only(options: dict, kept: set[int]) -> None:
    logits = torch.tensor([0.15, 0.3, 0.05, 0.5]).log().expand(2_000, 4)
    drawn = sample(logits, temperature=1.0, generator=seeded(), **options)
    assert set(drawn.tolist()) == kept


COARSE = "coarse delay"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"semantic": ...}, r"conditions must be \['mulan', 'semantic'\], got \['mulan'\]"),
        ({"melody": torch.zeros(1, 1, 1, dtype=torch.int64)}, "conditions must be"),
        ({"mulan": torch.zeros(1, 2, 0, dtype=torch.int64)}, r"mulan must be codes \[1, 2, T >= 1\]"),
        ({"semantic": None}, "semantic is not optional"),
        ({"semantic": torch.zeros(1, 2, 4, dtype=torch.int64)}, r"semantic must be codes \[1, 1, T >= 4\]"),
        ({"semantic": torch.zeros(1, 1, 3, dtype=torch.int64)}, r"T >= 4\] for 8 frames"),
        ({"semantic": torch.zeros(1, 1, 4)}, "semantic must be integer codes"),
        ({"semantic": torch.full((1, 1, 4), 8)}, r"semantic must lie in 0 ... 7, got 8 ... 8"),
        ({"semantic": torch.full((1, 1, 4), -1)}, r"semantic must lie in 0 ... 7, got -1 ... -1"),
        ({"mulan": torch.full((1, 2, 1), -2)}, r"mulan must lie in 0 ... 7"),
    ],
)
def test_conditions_that_do_not_fit_are_refused_in_one_line(changes: dict, words: str) -> None:
    stage = make_stage(COARSE)
    conditions = {**conditions_of(stage, random_codes(stage, 8)), **changes}
    conditions = {name: value for name, value in conditions.items() if value is not ...}
    with pytest.raises(ValueError, match=words) as caught:
        sample_codes(stage, conditions, frames=8)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"frames": 0}, "frames must be at least 1"),
        ({"temperature": -1.0}, "temperature"),
        ({"temperature": float("nan")}, "temperature"),
        ({"top_k": 0}, "top_k"),
        ({"top_p": 0.0}, "top_p"),
        ({"guidance": float("inf")}, "guidance"),
        ({"prompt": torch.zeros(1, 2, 3, dtype=torch.int64)}, "prompt must be codes"),
        ({"prompt": torch.zeros(1, 3, 9, dtype=torch.int64)}, "prompt must be codes"),
        ({"prompt": torch.full((1, 3, 2), 8)}, "coarse must lie in"),
    ],
)
def test_sampling_values_that_make_no_sense_are_refused(options: dict, words: str) -> None:
    stage = make_stage(COARSE)
    with pytest.raises(ValueError, match=words):
        sample_codes(stage, conditions_of(stage, random_codes(stage, 8)), **{"frames": 8, **options})


def test_guidance_without_an_optional_condition_is_refused() -> None:
    stage = make_stage("fine delay")
    conditions = conditions_of(stage, random_codes(stage, 4))
    with pytest.raises(ValueError, match="needs an optional condition"):
        sample_codes(stage, conditions, frames=4, guidance=2.0)
    with pytest.raises(ValueError, match="guidance by coarse"):
        sample_codes(stage, conditions, frames=4, guidance_by={"coarse": 1.0})
