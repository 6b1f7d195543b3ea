"""What is copied does not pass; what is not, does; and each action does what it says."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from musiclm.audio import Audio
from musiclm.audit.guard import Guard, Sample, TooNear, Watch, threshold_of
from musiclm.bundle import Bundle, save_component
from musiclm.data.store import TokenStore
from musiclm.generation.request import GuardAction, Request
from musiclm.tokenizers.rvq import ResidualQuantizer
from tests.audit.tiny_audit import make_store, songs


class Performance:
    """The takes of a request: their tokens are known, and their sound says which seed they are of."""

    def __init__(self, composer: "Composer", request: Request, on_semantic: Callable[[Tensor], None]) -> None:
        self.seeds = range(request.seed, request.seed + request.num)
        drawn = self.seeds[:1] if request.keep else self.seeds
        self.tokens = np.stack([composer.takes[seed] for seed in drawn]).astype(np.int64)[:, None]
        self.on_semantic = on_semantic

    def listen(self) -> list[Audio]:
        for piece in torch.from_numpy(self.tokens).split(100, dim=2):  # as windows are drawn
            self.on_semantic(piece)
        return [Audio(torch.full((1, 8), float(seed)), 8) for seed in self.seeds]


class Composer:
    """Stands in for a model: the take of each seed is known."""

    def __init__(self, takes: list[np.ndarray], bundle: Bundle | None = None) -> None:
        self.takes = takes
        self.bundle = bundle
        self.asked: list[tuple[int, int]] = []  # first seed and number of takes

    def perform(
        self, request: Request, on_progress: Any, on_semantic: Callable[[Tensor], None]
    ) -> Performance:
        self.asked.append((request.seed, request.num))
        return Performance(self, request, on_semantic)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_store(
        tmp_path_factory.mktemp("guard") / "tokens", songs(48, bars=500, seconds=15.0), held_out=40
    )


@pytest.fixture
def composer(store: Path) -> Composer:
    """Seeds 0, 1 and 3 copy a recording from 2 s on, with every tenth token changed; 2, 4 and 5 copy none."""
    copied = TokenStore(store).semantic(3)[50:300].copy()
    copied[::10] = 0
    own = np.random.default_rng(1).integers(0, 64, (3, 250))
    return Composer([copied, copied, own[0], copied, own[1], own[2]])


def generate(
    store: Path, composer: Composer, action: GuardAction = "refuse", tries: int = 3, **values: Any
) -> list[Sample]:
    request = Request("a tune", 10.0, **values)
    model: Any = composer
    return Guard.of(store, model).generate(model, request, action=action, tries=tries)


def test_a_copy_is_refused_and_its_source_named(store: Path, composer: Composer) -> None:
    with pytest.raises(ValueError, match=r"as near as a copy to piece3 from \d+ s on.*another --seed"):
        generate(store, composer)
    with pytest.raises(ValueError, match=r"got sample 2 of 3 as near as a copy to piece3"):
        generate(store, composer, seed=2, num=3)


def test_the_next_seeds_are_taken_until_one_passes(store: Path, composer: Composer) -> None:
    (sample,) = generate(store, composer, "regenerate")
    assert sample.seed == sample.audio.waveform[0, 0] == 2
    assert sample.verdict.passes
    assert composer.asked == [(0, 1), (1, 1), (2, 1)]
    with pytest.raises(ValueError, match="ask for more --guard_tries"):
        generate(store, composer, "regenerate", tries=2)


def test_of_several_samples_those_that_pass_are_kept(store: Path, composer: Composer) -> None:
    samples = generate(store, composer, "regenerate", seed=1, num=3)
    assert [sample.seed for sample in samples] == [4, 2, 5]  # 1 and 3 are copies
    assert [float(sample.audio.waveform[0, 0]) for sample in samples] == [4, 2, 5]
    assert composer.asked == [(1, 3), (4, 2)]


def test_samples_of_the_same_tokens_are_made_again_together(store: Path, composer: Composer) -> None:
    samples = generate(store, composer, "regenerate", num=2, keep="semantic")
    assert [sample.seed for sample in samples] == [2, 3]  # the tokens are seed 2's
    assert samples[0].verdict == samples[1].verdict
    with pytest.raises(ValueError, match="got sample 1 of 2 as near as a copy"):
        generate(store, composer, num=2, keep="semantic")


def test_a_label_says_what_is_near(store: Path, composer: Composer) -> None:
    first, _, third = generate(store, composer, "label", num=3)
    assert first.seed == 0
    assert not first.verdict.passes
    assert str(first.verdict).startswith("as near as a copy to piece3")
    assert third.verdict.passes


def test_a_stream_is_stopped_before_a_copy_is_heard(store: Path, composer: Composer) -> None:
    model: Any = composer
    watch = Watch(Guard.of(store, model))
    own, copied = (torch.from_numpy(composer.takes[seed].astype(np.int64))[None, None] for seed in (2, 0))
    watch(own)
    assert watch.verdict(0).passes
    with pytest.raises(TooNear, match="as near as a copy to piece3"):
        watch(copied)


@pytest.fixture
def copy_of_store(store: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of one's own, without an index, whose threshold is found in no time."""
    monkeypatch.setattr("musiclm.audit.guard.NULL_WINDOWS", 20)
    return Path(shutil.copytree(store, tmp_path / "tokens", ignore=shutil.ignore_patterns("search")))


def test_a_store_that_cannot_be_written_is_searched_all_the_same(
    copy_of_store: Path, composer: Composer, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy_of_store / "search").touch()  # not even root can make a folder here
    (sample,) = generate(copy_of_store, composer, "label")
    assert str(sample.verdict).startswith("as near as a copy to piece3")
    assert "is not kept" in capsys.readouterr().err
    assert (copy_of_store / "search").is_file()
    assert not list(copy_of_store.glob(".search*"))


def test_a_damaged_threshold_is_made_again(copy_of_store: Path, composer: Composer) -> None:
    model: Any = composer
    threshold = Guard.of(copy_of_store, model).threshold
    (copy_of_store / "search" / "threshold.json").write_text("{")
    assert Guard.of(copy_of_store, model).threshold == threshold


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
        guard.generate(composer, Request("a tune", 4.9))  # type: ignore[arg-type]
    assert composer.asked == []  # nothing was made in vain


def test_held_out_copies_of_training_music_do_not_open_the_guard(tmp_path: Path) -> None:
    music = songs(30, bars=500)
    store = make_store(tmp_path / "tokens", [*music, music[0], music[1]], held_out=20)
    guard = Guard.of(store, Composer([]))  # type: ignore[arg-type]
    assert not guard.judge(torch.from_numpy(music[0][50:250].astype(np.int64))[None, None]).passes


def test_the_store_of_other_tokenizers_is_refused(store: Path, tmp_path: Path) -> None:
    learned = {"semantic_encoder": "not this one"}
    sizes = {"dimension": 4, "num_quantizers": 2, "codebook_size": 8}
    words = {"class_path": "musiclm.tokenizers.rvq.ResidualQuantizer", "init_args": sizes}
    part = ResidualQuantizer(**sizes)
    bundle = save_component(tmp_path, "semantic_stage", part, storage="float32", trained_on=learned, **words)
    other = Composer([], bundle)
    with pytest.raises(ValueError, match="made by another semantic_encoder"):
        Guard.of(store, other)  # type: ignore[arg-type]


def test_several_stores_are_asked_together(store: Path, composer: Composer, tmp_path: Path) -> None:
    other = make_store(tmp_path / "other", songs(48, bars=500, seed=1, seconds=15.0), held_out=40)
    model: Any = composer
    copied, own = (torch.from_numpy(composer.takes[seed].astype(np.int64))[None, None] for seed in (0, 2))
    for stores in ([other, store], [store, other]):
        guard = Guard.of(stores, model)
        assert guard.judge(copied).recording == "piece3"
        assert not guard.judge(copied).passes
        assert guard.judge(own).passes
    assert Guard.of([other], model).judge(copied).passes


def test_of_few_unrelated_windows_the_threshold_is_lower_than_the_nearest() -> None:
    """One in a thousand others is to lie below, and not one in as many as there are."""
    random = np.random.default_rng(0)
    many = np.exp(random.normal(2.0, 0.2, 200_000))
    true = np.quantile(many, 0.001)
    for count in (30, 100, 300):
        drawn = [threshold_of(many[first * count :][:count]) for first in range(200)]
        assert np.median(drawn) == pytest.approx(true, rel=0.1)
        assert all(threshold <= many[first * count :][:count].min() for first, threshold in enumerate(drawn))
    assert threshold_of(many[:2000]) == np.quantile(many[:2000], 0.001, method="lower")
    assert threshold_of(np.array([3.0])) == 3.0
