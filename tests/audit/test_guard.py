"""What is copied does not pass; what is not, does; and each action does what it says."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.audit.guard import Guard
from musiclm.data.store import TokenStore
from tests.audit.tiny_audit import make_store, songs


class Composer:
    """Stands in for a model: the take of each seed is known."""

    def __init__(self, takes: list[np.ndarray], trained_on: dict[str, str] | None = None) -> None:
        self.takes = takes
        self.trained_on = trained_on or {}
        self.asked: list[int] = []

    def generate(
        self,
        prompt: str,
        *,
        seconds: float,
        seed: int,
        on_progress: Any,
        on_semantic: Callable[[Tensor], None],
    ) -> Audio:
        self.asked.append(seed)
        on_semantic(torch.from_numpy(self.takes[seed].astype(np.int64))[None, None])
        return Audio(torch.full((1, 8), float(seed)), 8)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(
        tmp_path_factory.mktemp("guard") / "tokens", songs(48, bars=500, seconds=15.0), held_out=40
    )


@pytest.fixture
def composer(store: Path) -> Composer:
    """Seeds 0 and 1 copy a recording from 2 s on, with every tenth token changed; seed 2 copies none."""
    copied = TokenStore(store).semantic(3)[50:300].copy()
    copied[::10] = 0
    return Composer([copied, copied, np.random.default_rng(1).integers(0, 64, 250)])


def generate(guard: Guard, composer: Composer, **values: Any) -> tuple[Audio, int, Any]:
    return guard.generate(composer, "a tune", seconds=10.0, seed=0, **values)  # type: ignore[arg-type]


def test_a_copy_is_refused_and_its_source_named(store: Path, composer: Composer) -> None:
    guard = Guard.of(store, composer)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"as near as a copy to piece3 from \d+ s on.*another --seed"):
        generate(guard, composer)


def test_the_next_seeds_are_taken_until_one_passes(store: Path, composer: Composer) -> None:
    guard = Guard.of(store, composer)  # type: ignore[arg-type]
    audio, seed, verdict = generate(guard, composer, action="regenerate", tries=3)
    assert seed == 2
    assert audio.waveform[0, 0] == 2
    assert verdict.passes
    assert composer.asked == [0, 1, 2]
    with pytest.raises(ValueError, match="ask for more --guard_tries"):
        generate(guard, composer, action="regenerate", tries=2)


def test_a_label_says_what_is_near(store: Path, composer: Composer) -> None:
    guard = Guard.of(store, composer)  # type: ignore[arg-type]
    _, seed, verdict = generate(guard, composer, action="label")
    assert seed == 0
    assert not verdict.passes
    assert str(verdict).startswith("as near as a copy to piece3")


def test_unrelated_music_passes(store: Path, composer: Composer) -> None:
    guard = Guard.of(store, composer)  # type: ignore[arg-type]
    others = [torch.from_numpy(song.astype(np.int64))[None, None] for song in songs(20, bars=500, seed=9)]
    assert sum(guard.judge(song).passes for song in others) >= 19


def test_a_take_shorter_than_a_window_is_refused(store: Path, composer: Composer) -> None:
    guard = Guard.of(store, composer)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="at least 5 s of music to guard"):
        guard.judge(torch.from_numpy(composer.takes[0][:124].astype(np.int64))[None, None])
    assert not guard.judge(torch.from_numpy(composer.takes[0][:125].astype(np.int64))[None, None]).passes
    with pytest.raises(ValueError, match="at least 5 s of music to guard"):
        guard.generate(composer, "a tune", seconds=4.9, seed=0)  # type: ignore[arg-type]
    assert composer.asked == []  # nothing was made in vain


def test_held_out_copies_of_training_music_do_not_open_the_guard(tmp_path: Path) -> None:
    music = songs(30, bars=500)
    store = make_store(tmp_path / "tokens", [*music, music[0], music[1]], held_out=20)
    guard = Guard.of(store, Composer([]))  # type: ignore[arg-type]
    assert not guard.judge(torch.from_numpy(music[0][50:250].astype(np.int64))[None, None]).passes


def test_the_store_of_other_tokenizers_is_refused(store: Path) -> None:
    other = Composer([], trained_on={"w2v_bert": "not this one"})
    with pytest.raises(ValueError, match="made by another w2v_bert"):
        Guard.of(store, other)  # type: ignore[arg-type]
