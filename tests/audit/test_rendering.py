"""A decoder that knows training recordings by heart is told from one that does not."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from musiclm.audio import Audio
from musiclm.audit.continuation import Subject
from musiclm.audit.examples import Examples
from musiclm.audit.rendering import render
from musiclm.data.store import TokenStore
from tests.audit.tiny_audit import make_store, songs

HOP = 480


class Codec(nn.Module):
    """Decodes codes to noise that they alone determine."""

    sample_rate, frame_rate, hop_length = 24_000, 50.0, HOP

    def decode(self, codes: Tensor) -> Tensor:
        seed = int(codes.sum()) % 2**31
        return 0.1 * torch.randn(1, 1, codes.shape[2] * HOP, generator=torch.Generator().manual_seed(seed))


def noise(seed: int, length: int) -> Tensor:
    return 0.1 * torch.randn(1, length, generator=torch.Generator().manual_seed(seed))


@pytest.fixture(scope="module")
def subjects(tmp_path_factory: pytest.TempPathFactory) -> list[Subject]:
    folder = make_store(tmp_path_factory.mktemp("rendering") / "tokens", songs(24), held_out=8)
    rows = list(TokenStore(folder))
    found = []
    for name, split in (("training", "train"), ("held-out", "valid")):
        own = [row for row in rows if row.split == split]
        count = len(own)
        examples = Examples(np.arange(count), np.full(count, 25), np.ones(count), np.ones(count, dtype=int))
        semantic = torch.stack([torch.from_numpy(row.semantic[25:200].astype(np.int64)) for row in own])
        found.append(Subject(name, own, examples, torch.zeros(count, 3, 1, dtype=torch.int64), semantic))
    return found


def model_of(sounds: dict[bytes, Tensor]) -> Any:
    """Makes the sound that it knows of some tokens, and noise of all others."""

    def rendered(tokens: Tensor, joint: Tensor, *, seed: int) -> Audio:
        known = sounds.get(tokens.numpy().tobytes())
        length = tokens.shape[2] * 2 * HOP
        return Audio(noise(seed, length) if known is None else known, 24_000)

    return SimpleNamespace(device=torch.device("cpu"), render=rendered)


def originals(subject: Subject) -> dict[bytes, Tensor]:
    """The sound of a set's stretches, by their tokens."""
    codec = Codec()
    found = {}
    for index in range(len(subject)):
        row = subject.rows[subject.examples.recordings[index]]
        codes = torch.from_numpy(row.acoustic[:, 50:300].astype(np.int64))[None]
        found[subject.target(0)[index].numpy().tobytes()] = codec.decode(codes)[0]
    return found


def test_a_decoder_that_makes_training_music_as_it_was_is_found_out(subjects: list[Subject]) -> None:
    model = model_of(originals(subjects[0]))
    found = render(model, Codec(), subjects, examples=8, frame_rate=25.0, seed=0)
    assert found is not None
    training, held_out = found.sets
    assert (training.set, held_out.set) == ("training", "held-out")
    assert training.examples == held_out.examples == 8
    assert training.mel_distance == pytest.approx(0, abs=1e-6)
    assert 0 < found.low <= found.nearer <= found.high


def test_one_that_knows_no_recording_is_not_accused_beyond_chance(subjects: list[Subject]) -> None:
    found = render(model_of({}), Codec(), subjects, examples=8, frame_rate=25.0, seed=0)
    assert found is not None
    assert found.low <= found.nearer <= found.high
    assert abs(found.nearer) < 0.02 * found.sets[0].mel_distance


def test_one_that_makes_all_music_as_it_was_is_a_good_one(subjects: list[Subject]) -> None:
    model = model_of(originals(subjects[0]) | originals(subjects[1]))
    found = render(model, Codec(), subjects, examples=8, frame_rate=25.0, seed=0)
    assert found is not None
    assert found.low <= 0 <= found.high
    assert all(each.unrelated_mel_distance > each.mel_distance + 0.1 for each in found.sets)


def test_without_two_stretches_of_each_set_nothing_is_said(subjects: list[Subject]) -> None:
    assert render(model_of({}), Codec(), subjects[:1], examples=8, frame_rate=25.0, seed=0) is None
    assert render(model_of({}), Codec(), subjects, examples=1, frame_rate=25.0, seed=0) is None
