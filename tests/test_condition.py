"""One more condition is one more stream: a maker, and all else follows from what it says of itself.

The condition is how loud the music is, five times a second. Nothing but the maker below knows it.
"""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from musiclm import MusicLM
from musiclm.bundle import Bundle, load_component, merge
from musiclm.cli import main
from musiclm.data import tokenize
from musiclm.data.store import TokenStore
from musiclm.data.stream_makers import StreamMaker
from musiclm.data.token_crops import TokenCrops
from musiclm.generation.conditioning import ConditioningSchedule
from musiclm.generation.request import Request
from musiclm.stages.decoding import sample_codes
from musiclm.stages.streams import Stream
from musiclm.training.stages import StageTraining
from tests.tiny import SAMPLE_RATE, Audio, folder_of_tones, tone
from tests.tiny_model import PROMPT, make_bundle

RATE = 5.0  # Hz
LOUDNESS = Stream("loudness", 1, 4, RATE, made_by=("codec",))
LENGTH = 3.0  # seconds of a recording


def loudness(waveform: Tensor) -> Tensor:
    """Codes [1, T]: 0 for silence, 3 for a loud tone."""
    hop = round(SAMPLE_RATE / RATE)
    frames = waveform[0, 0, : waveform.shape[2] // hop * hop].view(-1, hop)
    return (8 * frames.square().mean(dim=1).sqrt()).long().clamp(max=3)[None]


@pytest.fixture(autouse=True)
def _maker(monkeypatch: pytest.MonkeyPatch) -> None:
    maker = StreamMaker(LOUDNESS, SAMPLE_RATE, loudness, "the loudness")
    monkeypatch.setattr(tokenize, "MAKERS", [*tokenize.MAKERS, lambda bundle, device: maker])


@pytest.fixture
def store(tmp_path: Path) -> TokenStore:
    music = folder_of_tones(tmp_path / "music", 3, seconds=LENGTH)
    for number, path in enumerate(sorted(music.glob("*.wav"))):  # the first is silent at its end
        whole = tone(LENGTH).waveform * torch.ones(1, round(LENGTH * SAMPLE_RATE))
        whole[:, round((1.0 + number) * SAMPLE_RATE) :] *= 0.01
        Audio(whole, SAMPLE_RATE).save(path)
    tokens = tmp_path / "tokens"
    bundle = make_bundle(tmp_path / "made")
    main(["tokenize", str(music), "--bundle", str(bundle), "--out", str(tokens), "--workers", "1"])
    return TokenStore(tokens)


def fit(store: TokenStore, name: str, out: Path, *words: str) -> Bundle:
    layers = [f"--config=configs/{name}.yaml", f"--config=configs/tiny/{name}.yaml"]
    sizes = ["--data.init_args.seconds=2.0", "--data.init_args.clear_of_end=0", "--trainer.max_steps=1"]
    main(["fit", *layers, f"--tokens={store.folder}", f"--out={out}", *sizes, *words])
    return Bundle(out / "part")


def test_a_store_holds_the_condition_and_crops_have_it_on_its_own_clock(store: TokenStore) -> None:
    assert store.description["loudness"] == LOUDNESS
    for row in store:
        assert row.streams["loudness"].shape == (1, LENGTH * RATE)
    assert store[0].streams["loudness"][0, [2, -2]].tolist() == [2, 0]
    crops = TokenCrops(store.folder, 2.0, batch_size=2)
    assert LOUDNESS in crops.streams
    batch = crops.on_after_batch_transfer(next(iter(crops.train_dataloader())), 0)
    assert batch["loudness"].shape == (2, 1, 2 * RATE)
    assert batch["loudness"].dtype == torch.int64


def test_stages_learn_it_drop_it_and_are_told_it_in_generation(store: TokenStore, tmp_path: Path) -> None:
    parts = [fit(store, name, tmp_path / name) for name in ("semantic", "coarse", "fine")]
    semantic, coarse, fine = (load_component(part.path) for part in parts)
    for stage in (semantic, coarse):
        assert stage.layout.has_condition("loudness")
        assert StageTraining(stage).dropped == {"mulan": 0.1, "loudness": 0.5}
    assert not fine.layout.has_condition("loudness")
    assert [each["name"] for each in parts[0].component("semantic_stage").init_args["streams"]] == [
        "semantic", "mulan", "loudness",
    ]  # fmt: skip

    with torch.no_grad():  # as if it had learned to heed it
        for stage in (semantic, coarse):
            stage.aligned["loudness"].projection.weight.normal_(std=7.0)
    model = MusicLM.from_bundle(merge([Bundle(tmp_path / "made" / "bundle"), *parts], tmp_path / "all"))
    model.semantic_stage, model.decoder.coarse = semantic, coarse
    quiet, loud = (torch.full((1, 1, 10), code) for code in (0, 3))
    drawn: list[list[torch.Tensor]] = [[], [], []]
    heard = [
        model.perform(Request(PROMPT, seconds=1.0, codes={"loudness": codes}), on_semantic=tokens.append)
        .listen()[0]
        .waveform
        for codes, tokens in zip((quiet, loud, loud), drawn, strict=True)
    ]
    for each in (heard, [torch.cat(tokens, dim=2) for tokens in drawn]):  # the sound, and what is played
        assert torch.equal(each[1], each[2])
        assert not torch.equal(each[0], each[1])


def test_a_stage_follows_the_conditions_that_it_is_told_to_follow(store: TokenStore, tmp_path: Path) -> None:
    chosen = "--model.init_args.part.init_args.conditions=[mulan]"
    stage = load_component(fit(store, "semantic", tmp_path / "semantic", chosen).path)
    assert [segment.name for segment in stage.layout.conditions] == ["mulan"]


def test_a_window_is_told_the_stretch_that_it_plays(store: TokenStore, tmp_path: Path) -> None:
    stage = load_component(fit(store, "semantic", tmp_path / "semantic").path)
    codes = torch.arange(10)[None, None] % 4
    schedule = ConditioningSchedule((0.0,), (torch.zeros(1, 2, 1).long(),), {"loudness": codes})
    segments = stage.layout.conditions
    assert schedule.hop(segments) == 1 / RATE  # windows begin where a frame of it does
    told = schedule.conditions(segments, 1, moment=1.0, begin=1.0, length=2.0)["loudness"]
    assert told.flatten().tolist() == [1, 2, 3, 0, 1, -1, -1, -1, -1, -1]  # absent past its end
    whole = schedule.conditions(segments, 1, moment=0.0, begin=0.0, length=2.0)
    assert sample_codes(stage, whole, frames=50).shape == (1, 1, 50)


def test_what_no_stage_has_learned_is_refused(tmp_path: Path) -> None:
    model = MusicLM.from_pretrained(make_bundle(tmp_path))
    with pytest.raises(ValueError, match="follow a loudness, the semantic stage"):
        model.perform(Request(PROMPT, seconds=1.0, codes={"loudness": torch.zeros(1, 1, 5).long()}))
