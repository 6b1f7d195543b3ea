"""A layout: codes survive the way to tokens and back, ranges are disjoint, every step is accounted for."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from musiclm.stages.layout import ABSENT, Layout, Segment
from tests.stages.tiny_stages import ids_of


def make_layout(pattern: str, levels: int = 3, size: int = 8, **options: object) -> Layout:
    return Layout(
        (
            Segment("mulan", 2, size + 1, 0.0, optional=True),
            Segment("semantic", 1, size + 2, 25.0),
            Segment("coarse", levels, size, 50.0, source="acoustic", first_level=1),
        ),
        pattern,
        **options,
    )


patterns = st.sampled_from(["flatten", "delay"])


@settings(max_examples=40, deadline=None)
@given(patterns, st.integers(1, 5), st.integers(1, 9), st.integers(1, 7), st.integers(0, 99))
def test_codes_come_back_from_tokens(pattern: str, levels: int, size: int, frames: int, seed: int) -> None:
    layout = make_layout(pattern, levels, size)
    codes = torch.randint(size, (2, levels, frames), generator=torch.Generator().manual_seed(seed))
    tokens = layout.flatten(codes)
    assert tokens.shape == (2, layout.steps(frames), layout.columns)
    assert torch.equal(layout.unflatten(tokens), codes)


@settings(max_examples=40, deadline=None)
@given(patterns, st.integers(1, 5), st.integers(1, 9), st.integers(1, 7))
def test_each_code_is_a_token_of_its_levels_range_at_its_step(
    pattern: str, levels: int, size: int, frames: int
) -> None:
    layout = make_layout(pattern, levels, size)
    codes = torch.randint(size, (1, levels, frames))
    tokens, steps = layout.flatten(codes), layout.step_of(frames)
    for level in range(levels):
        for frame in range(frames):
            column = 0 if pattern == "flatten" else level
            token = int(tokens[0, steps[level, frame], column])
            assert token in ids_of(layout, layout.target, level)
            assert level in layout.due(int(steps[level, frame]), frames)
    assert sum(len(layout.due(step, frames)) for step in range(layout.steps(frames))) == levels * frames
    assert (tokens == layout.blank).sum() == tokens.numel() - codes.numel()


@settings(max_examples=30, deadline=None)
@given(patterns, st.integers(1, 5), st.integers(1, 7), st.integers(0, 7))
def test_what_is_due_after_a_prompt_is_all_but_the_prompt(
    pattern: str, levels: int, frames: int, known: int
) -> None:
    layout, known = make_layout(pattern, levels), min(known, frames)
    steps = range(layout.known_steps(known), layout.steps(frames))
    due = [len(layout.due(step, frames, known)) for step in steps]
    assert sum(due) == levels * (frames - known)
    if known < frames:
        assert min(due) > 0  # no step is spent on nothing


@given(patterns, st.integers(1, 5), st.integers(1, 9))
def test_ranges_of_all_levels_are_disjoint_and_fill_the_vocabulary(
    pattern: str, levels: int, size: int
) -> None:
    layout = make_layout(pattern, levels, size)
    ids = [i for s in layout.segments for level in range(s.levels) for i in ids_of(layout, s, level)]
    ids += [layout.absent("mulan"), layout.blank]
    assert sorted(ids) == list(range(layout.vocabulary_size))


def test_flattening_is_time_major_with_the_level_varying_fastest() -> None:
    layout = Layout((Segment("a", 2, 10, 50.0),), "flatten")
    tokens = layout.flatten(torch.tensor([[[1, 2, 3], [4, 5, 6]]]))
    assert tokens[0, :, 0].tolist() == [1, 14, 2, 15, 3, 16]


def test_delay_shifts_level_q_by_q_frames() -> None:
    layout = Layout((Segment("a", 2, 10, 50.0),), "delay")
    tokens, blank = layout.flatten(torch.tensor([[[1, 2, 3], [4, 5, 6]]])), layout.blank
    assert tokens[0].tolist() == [[1, blank], [2, 14], [3, 15], [blank, 16]]
    assert layout.shift(tokens)[0].tolist() == [[blank, blank], [1, blank], [2, 14], [3, 15]]


def test_clocked_conditions_are_prefix_when_flattened_and_aligned_when_delayed() -> None:
    assert [s.name for s in make_layout("flatten").prefix] == ["mulan", "semantic"]
    assert [s.name for s in make_layout("delay").prefix] == ["mulan"]
    assert [s.name for s in make_layout("delay").aligned] == ["semantic"]


def test_absent_conditions_become_their_own_token() -> None:
    layout = make_layout("delay")
    tokens = layout.prefix_tokens({"mulan": torch.tensor([[[3], [ABSENT]]])}, 1)
    assert tokens.tolist() == [[3, layout.absent("mulan")]]


def test_a_stage_picks_its_levels_of_a_batch_and_cuts_all_to_the_same_time() -> None:
    layout = make_layout("delay")
    acoustic = torch.arange(5 * 9).view(1, 5, 9) % 8
    batch = {"mulan": torch.zeros(1, 2, 1), "semantic": torch.zeros(1, 1, 4), "acoustic": acoustic}
    codes = layout.pick(batch)
    assert torch.equal(codes["coarse"], acoustic[:, 1:4, :8])
    assert codes["semantic"].shape == (1, 1, 4)
    with pytest.raises(ValueError, match="needs 'semantic'"):
        layout.pick({"mulan": batch["mulan"], "acoustic": acoustic})
    with pytest.raises(ValueError, match="needs 4 levels of acoustic, got 2"):
        layout.pick({**batch, "acoustic": acoustic[:, :2]})


@pytest.mark.parametrize(
    ("segments", "options", "words"),
    [
        ((), {}, "names of their own"),
        ((Segment("a", 1, 8, 50.0), Segment("a", 1, 8, 50.0)), {}, "names of their own"),
        ((Segment("a", 0, 8, 50.0),), {}, "needs levels"),
        ((Segment("a", 1, 8, 0.0),), {}, "target needs a clock"),
        ((Segment("b", 1, 8, 20.0), Segment("a", 1, 8, 50.0)), {}, "cannot be aligned"),
        ((Segment("a", 1, 8, 50.0),), {"lookahead": 1}, "needs the delay pattern"),
        ((Segment("a", 1, 8, 50.0),), {"pattern": "zigzag"}, "flatten or delay"),
    ],
)
def test_segments_that_make_no_layout_are_refused(segments: tuple, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        Layout(segments, **options)
