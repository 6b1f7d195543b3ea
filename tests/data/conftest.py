"""The tokenizers of all that tests tokenize."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import torch

import musiclm.data.tokenize
from musiclm.data.stream_makers import acoustic_codes, joint_embeddings, score_makers, semantic_tokens
from musiclm.data.tokenize import Tokenizers
from tests.data.tokenizing import Levels
from tests.tiny import SAMPLE_RATE


@pytest.fixture
def semantic(monkeypatch: pytest.MonkeyPatch) -> Iterator[Levels]:
    """The semantic tokenizer of all that is tokenized here, in this process."""
    semantic = Levels(25)
    mulan = SimpleNamespace(
        sample_rate=SAMPLE_RATE, dimension=4, window_seconds=10.0,
        embed_windows=lambda waveform: torch.ones(1, 4),
    )  # fmt: skip
    makers = (semantic_tokens(semantic), acoustic_codes(Levels(50, (3,))), joint_embeddings(mulan))  # type: ignore[arg-type]
    tokenizers = Tokenizers(makers)
    monkeypatch.setattr(Tokenizers, "load", lambda bundle, device="cpu": tokenizers)
    kept = musiclm.data.tokenize._tokenizers
    kept.cache_clear()
    yield semantic
    kept.cache_clear()


@pytest.fixture
def scored(semantic: Levels, monkeypatch: pytest.MonkeyPatch) -> Levels:
    """The tokenizers of these tests, and those of the score."""
    plain = Tokenizers.load(None)  # type: ignore[arg-type]
    both = Tokenizers([*plain.makers, *score_makers(None)])
    monkeypatch.setattr(Tokenizers, "load", lambda bundle, device="cpu": both)
    return semantic
