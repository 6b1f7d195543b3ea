"""The melody among a stage's conditions: known window by window, on its own clock, silent when absent."""

import pytest
import torch
from torch import Tensor

from musiclm.stages.coarse import Coarse
from musiclm.stages.decoding import sample_codes
from musiclm.stages.layout import ABSENT, Layout, Segment
from musiclm.stages.segments import condition_segments
from musiclm.stages.semantic import Semantic
from musiclm.stages.stage import Stage
from musiclm.stages.streams import MUSICLM, Stream
from musiclm.tokenizers.melody import HOP_SECONDS
from tests.stages.tiny_stages import TINY, conditions_of, make_stage, random_codes

DELAYED = ["semantic melody delay", "coarse melody delay"]  # three and six steps a window
WITH_MELODY = ["semantic melody flatten", *DELAYED]


def told(stage: Stage, codes: dict[str, Tensor], frames: int) -> Tensor:
    """What the conditions add to each step, [B, N, D]."""
    return stage.embed_conditions(codes, len(codes["mulan"]), frames)[1].detach()


def windowed(stage: Stage) -> int:
    """Steps of a window."""
    return round(stage.layout.target.frame_rate * HOP_SECONDS)


@pytest.mark.parametrize("frames", [1, 74, 75, 76, 150, 151, 375])
@pytest.mark.parametrize("rate", [25.0, 50.0])
def test_windows_are_counted_to_the_frame_at_a_third_of_a_hertz(rate: float, frames: int) -> None:
    (melody,) = condition_segments([Stream("melody", 2, 8, 1 / HOP_SECONDS)], None, unfolded_width=4)
    layout = Layout((melody, Segment("target", 1, 8, rate)))
    assert layout.ratio(melody) == 3 * rate
    assert layout.frames_needed(melody, frames) == -(-frames // (3 * rate))
    windows = torch.zeros(1, 2, layout.frames_needed(melody, frames), dtype=torch.int64)
    codes = layout.pick({"melody": windows, "target": torch.zeros(1, 1, frames)})
    assert codes["target"].shape[2] == frames  # the last window ends after the target and shortens nothing
    assert torch.equal(codes["melody"], windows)


@pytest.mark.parametrize("name", DELAYED)
def test_a_window_is_told_to_the_steps_of_its_own_three_seconds_alone(name: str) -> None:
    stage = make_stage(name)
    steps, frames = windowed(stage), 3 * windowed(stage) - 1
    codes = random_codes(stage, frames)
    before = told(stage, codes, frames)
    for window in range(3):
        changed = codes["melody"].clone()
        changed[:, :, window] = (changed[:, :, window] + 1) % 8
        differs = (told(stage, {**codes, "melody": changed}, frames) != before).any(dim=-1)[0]
        own = torch.arange(len(differs)) // steps == window
        own[frames:] = False  # steps that end the delay pattern
        assert torch.equal(differs, own)


@pytest.mark.parametrize("name", DELAYED)
def test_steps_of_one_window_are_told_different_things(name: str) -> None:
    stage = make_stage(name)
    steps = windowed(stage)
    with_melody = told(stage, codes := random_codes(stage, steps), steps)[0, :steps]
    without = told(stage, {**codes, "melody": torch.full_like(codes["melody"], ABSENT)}, steps)[0, :steps]
    assert torch.pdist(with_melody - without).min() > 1e-3


@pytest.mark.parametrize("name", WITH_MELODY)
def test_no_logit_knows_a_later_window(name: str) -> None:
    """Changing a window leaves bit for bit what is due before the steps of its 3 s."""
    stage = make_stage(name)
    frames = 3 * windowed(stage)
    codes = random_codes(stage, frames)
    changed = codes["melody"].clone()
    changed[:, :, 2] = (changed[:, :, 2] + 1) % 8
    with torch.no_grad():
        before, after = stage(codes)[0], stage({**codes, "melody": changed})[0]
    if stage.layout.pattern == "flatten":  # a prefix is known from the start, as in the paper
        assert not torch.equal(before, after)
        return
    earlier = stage.layout.step_of(frames) < 2 * windowed(stage)
    assert torch.equal(before[earlier], after[earlier])
    assert not torch.equal(before[~earlier], after[~earlier])


@pytest.mark.parametrize("name", DELAYED)
def test_an_absent_melody_adds_exactly_nothing(name: str) -> None:
    stage, frames = make_stage(name), 7
    codes = random_codes(stage, frames, batch=2)
    absent = torch.full_like(codes["melody"], ABSENT)
    (unfolded,) = stage.unfolded.values()
    (melody,) = stage.layout.unfolded
    tokens = stage.layout.aligned_tokens(melody, {"melody": absent})
    assert unfolded(tokens, frames, frames).eq(0).all()
    present = stage.layout.aligned_tokens(melody, codes)
    assert unfolded(present, frames, frames).ne(0).any(dim=-1).all()


@pytest.mark.parametrize("name", WITH_MELODY)
def test_a_row_without_melody_knows_nothing_of_its_neighbours_melodies(name: str) -> None:
    stage, frames = make_stage(name), 8
    codes = random_codes(stage, frames, batch=2)
    codes["melody"][0] = ABSENT
    other = {**codes, "melody": codes["melody"].clone()}
    other["melody"][1] = (other["melody"][1] + 1) % 8
    with torch.no_grad():
        before, after = stage(codes), stage(other)
    assert torch.equal(before[0], after[0])
    assert not torch.equal(before[1], after[1])


@pytest.mark.parametrize("name", WITH_MELODY)
def test_a_melody_that_is_missing_or_ends_early_is_absent_from_there_on(name: str) -> None:
    stage = make_stage(name)
    frames = 3 * windowed(stage)
    codes = random_codes(stage, frames)
    codes["melody"][:, :, 1:] = ABSENT
    with torch.no_grad():
        marked = stage(codes)
        short = stage({**codes, "melody": codes["melody"][:, :, :1]})
        codes["melody"][:] = ABSENT
        silent = stage(codes)
        missing = stage({name: value for name, value in codes.items() if name != "melody"})
    assert torch.equal(marked, short)
    assert torch.equal(silent, missing)
    assert not torch.equal(marked, silent)


@pytest.mark.parametrize("name", WITH_MELODY)
def test_generation_follows_a_melody_that_ends_early_or_goes_on(name: str) -> None:
    stage = make_stage(name)
    frames = 2 * windowed(stage)
    conditions = conditions_of(stage, random_codes(stage, frames))
    first = conditions["melody"][:, :, :1]
    early = sample_codes(stage, {**conditions, "melody": first}, frames=frames, temperature=0)
    marked = torch.cat([first, torch.full_like(first, ABSENT)], dim=2)
    assert torch.equal(
        sample_codes(stage, {**conditions, "melody": marked}, frames=frames, temperature=0), early
    )
    beyond = torch.cat([marked, torch.ones_like(first)], dim=2)
    assert torch.equal(
        sample_codes(stage, {**conditions, "melody": beyond}, frames=frames, temperature=0), early
    )


def test_a_stage_without_melody_has_no_weights_of_one() -> None:
    plain = make_stage("semantic delay")
    assert [segment.name for segment in plain.layout.conditions] == ["mulan"]
    assert not [name for name in plain.state_dict() if "unfolded" in name]


def test_a_melody_costs_as_many_weights_as_it_should() -> None:
    """At the default sizes: a table of 1.6 M entries, and half a million weights to unfold a window."""
    streams = (*MUSICLM, Stream("melody", 24, 512, 1 / HOP_SECONDS))
    for stage in (Semantic, Coarse):
        with torch.device("meta"):
            (unfolded,) = stage(TINY, pattern="delay", streams=streams).unfolded.values()
        table = unfolded.embedding.weight.numel()
        assert table == (24 * 512 + 1) * 128
        assert sum(parameter.numel() for parameter in unfolded.parameters()) - table < 600_000


def test_a_melody_of_other_levels_is_refused() -> None:
    stage = make_stage("semantic melody delay")
    conditions = conditions_of(stage, random_codes(stage, 4))
    melody = torch.zeros(1, 3, 2, dtype=torch.int64)
    with pytest.raises(ValueError, match=r"melody must be codes \[1, 2, T >= 1\]"):
        sample_codes(stage, {**conditions, "melody": melody}, frames=4)
