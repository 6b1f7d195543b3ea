"""What the stage is told when it continues a stretch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from musiclm.audit.continuation import CONTINUATION, Subject, continuations, planned_streams
from musiclm.audit.examples import Examples
from musiclm.score.codes import BEAT
from musiclm.stages.semantic import Semantic
from musiclm.stages.streams import Stream
from musiclm.stages.transformer import TransformerConfig

MUSIC = (Stream("mulan", 2, 8, 0.0), Stream("semantic", 1, 8, 25.0))
CONFIG = TransformerConfig(width=16, layers=1, heads=2, feed_forward=24, dropout=0.0)
EXAMPLES = 3


def stage_of(*streams: Stream) -> Semantic:
    torch.manual_seed(0)
    stage = Semantic(CONFIG, pattern="delay", streams=[*MUSIC, *streams]).eval()
    with torch.no_grad():
        for parameter in stage.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return stage


@pytest.fixture
def subject() -> Subject:
    generator = torch.Generator().manual_seed(0)
    length = 10 + CONTINUATION
    return Subject(
        "training",
        (),
        Examples(np.zeros(EXAMPLES, int), np.zeros(EXAMPLES, int), np.ones(EXAMPLES), np.ones(EXAMPLES, int)),
        torch.randint(8, (EXAMPLES, 2, 1), generator=generator),
        torch.randint(8, (EXAMPLES, length), generator=generator),
        {"beat": torch.randint(16, (EXAMPLES, BEAT.levels, length), generator=generator)},
    )


def continued(stage: Semantic, subject: Subject, folder: Path, *, planned: bool) -> torch.Tensor:
    return continuations(
        stage,
        subject,
        prompt_tokens=10,
        temperature=0.0,
        planned=planned,
        seed=0,
        folder=folder,
        on_rows=lambda count: None,
    )


def test_a_stage_that_follows_a_score_is_told_the_music_s_own_when_asked(
    subject: Subject, tmp_path: Path
) -> None:
    stage = stage_of(BEAT)
    assert planned_streams(stage, subject) == ("beat",)
    told, untold = (continued(stage, subject, tmp_path, planned=planned) for planned in (True, False))
    assert told.shape == (EXAMPLES, CONTINUATION)
    assert not told.equal(untold)
    # What is kept of the one is not taken for the other.
    assert continued(stage, subject, tmp_path, planned=True).equal(told)


def test_a_stage_that_follows_none_is_told_none(subject: Subject) -> None:
    assert planned_streams(stage_of(), subject) == ()
