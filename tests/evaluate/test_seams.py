"""The borders of a piece are where its windows and blocks of sound end."""

import torch

from musiclm.course import Course
from musiclm.evaluate.seams import borders_of
from musiclm.settings import GenerationSettings
from musiclm.windows import Takes
from tests.stages.tiny_stages import make_stage


def test_borders_are_where_windows_and_blocks_end() -> None:
    takes = Takes(
        make_stage("semantic delay"),
        make_stage("coarse delay"),
        make_stage("fine delay"),
        settings=GenerationSettings(4.0, 2.0, 3.0, 1.0),
        course=Course((0.0,), (torch.zeros(1, 2, 1, dtype=torch.int64),)),
        frames=400,
        generators=[torch.Generator()],
        on_progress=lambda *_: None,
        on_semantic=lambda _: None,
    )
    semantic, coarse = [2.0, 4.0, 6.0], [1.0, 3.0, 5.0, 7.0]
    assert borders_of(takes, 25) == sorted([*semantic, *coarse, *(end - 0.5 for end in coarse)])
