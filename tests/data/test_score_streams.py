"""Streams of the score in a token store: what the labels say, and in a store without them nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from musiclm.data.cutting import tokens_of
from musiclm.data.store import DESCRIPTION, TokenStore, read_description
from musiclm.data.token_crops import TokenCrops
from musiclm.data.tokenize import Tokenizers
from musiclm.score.codes import STREAMS, codes_of
from musiclm.score.labels import score_of_labels
from musiclm.stages.layout import ABSENT
from tests.data.tokenizing import LABELS, SECONDS, Levels, labelled, report, run
from tests.tiny import folder_of_tones, save_quantizer, tone

NAMES = tuple(stream.name for stream in STREAMS)


def test_streams_of_the_score_are_as_the_labels_say(tmp_path: Path, scored: Levels) -> None:
    unknown = dict.fromkeys(LABELS)
    music = labelled(tmp_path / "music", LABELS, unknown, LABELS | {"tempo": None, "drums": False})
    store = run(tmp_path / "tokens", music)
    assert [stream.name for stream in store.description.streams][-4:] == list(NAMES)
    assert read_description(store.folder)["beat"] == STREAMS[0]
    first, second, third = store
    for row, labels in zip(store, (LABELS, unknown, LABELS | {"tempo": None, "drums": False}), strict=True):
        expected = codes_of(score_of_labels(labels, SECONDS))
        for name in NAMES:
            assert row.streams[name].dtype == np.uint16
            assert torch.equal(torch.from_numpy(tokens_of(row.streams[name])), expected[name])
    assert first.streams["beat"][:, 13].tolist() == [1, 1, 2]
    assert all(bool((second.streams[name] == 65_535).all()) for name in NAMES)
    assert bool((third.streams["beat"] == 65_535).all())
    assert bool((third.streams["drums"] == 0).all())


def test_of_recordings_without_labels_the_score_is_absent(tmp_path: Path, scored: Levels) -> None:
    store = run(tmp_path / "tokens", labelled(tmp_path / "music", dict.fromkeys(LABELS), LABELS))
    for stream in STREAMS:
        assert store[0].streams[stream.name].shape == (stream.levels, 25 * SECONDS)
        assert bool((store[0].streams[stream.name] == 65_535).all())
    save_quantizer(store.folder, "joint_quantizer", dimension=4, num_quantizers=3)
    batch = next(iter(TokenCrops(store.folder, 1.0, batch_size=16).train_dataloader()))
    for stream in STREAMS:
        assert batch[stream.name].shape == (16, stream.levels, 25)
        absent = (batch[stream.name] == ABSENT).flatten(1).all(dim=1)
        assert absent.any()
        assert not absent.all()


def test_streams_that_say_nothing_of_any_recording_are_not_kept(tmp_path: Path, scored: Levels) -> None:
    """A stage would follow them, having learned nothing."""
    plain = run(tmp_path / "tokens", folder_of_tones(tmp_path / "music", 2, seconds=SECONDS))
    assert not {stream.name for stream in plain.description.streams} & set(NAMES)
    music = labelled(tmp_path / "labelled", {"drums": True}, {"drums": None})
    some = run(tmp_path / "some", music)
    assert {stream.name for stream in some.description.streams} & set(NAMES) == {"drums"}


def test_labels_that_cannot_be_leave_a_recording_out_and_say_why(tmp_path: Path, scored: Levels) -> None:
    music = labelled(tmp_path / "music", LABELS, LABELS | {"tempo": -4.0})
    store = run(tmp_path / "tokens", music)
    assert store.ids() == ["0"]
    (reason,) = report(store.folder).values()
    assert "expected a tempo of 1 to 1000 bpm, got -4" in reason


def test_a_store_of_a_time_without_a_score_goes_on_without(
    tmp_path: Path, scored: Levels, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    music, out = labelled(tmp_path / "music", LABELS, LABELS), tmp_path / "tokens"
    with monkeypatch.context() as before:
        plain = Tokenizers.load(None).only(["semantic", "acoustic", "mulan"])  # type: ignore[arg-type]
        before.setattr(Tokenizers, "load", lambda bundle, device="cpu": plain)
        run(out, music)
    assert scored.calls == 2
    described = yaml.safe_load((out / DESCRIPTION).read_text())
    capsys.readouterr()
    tone(SECONDS, pitch=500.0).save(music / "another.wav")
    store = run(out, music, "--shard_size", "2")
    assert f"tokenize: {out} has no {', '.join(NAMES)}, and stays without" in capsys.readouterr().err
    assert yaml.safe_load((out / DESCRIPTION).read_text()) == described
    assert len(store) >= 2
    assert all(set(row.streams) == {"semantic", "acoustic", "mulan"} for row in store)
    save_quantizer(out, "joint_quantizer", dimension=4, num_quantizers=3)
    assert not set(next(iter(TokenCrops(out, 1.0, batch_size=2).train_dataloader()))) & set(NAMES)


def test_nothing_is_said_of_a_store_that_has_a_score(
    tmp_path: Path, scored: Levels, capsys: pytest.CaptureFixture[str]
) -> None:
    music = labelled(tmp_path / "music", LABELS)
    run(tmp_path / "tokens", music)
    assert isinstance(run(tmp_path / "tokens", music), TokenStore)
    assert scored.calls == 1
    assert "stays without" not in capsys.readouterr().err


def test_streams_that_are_chosen_are_made_alone_and_a_store_keeps_to_them(
    tmp_path: Path, scored: Levels, capsys: pytest.CaptureFixture[str]
) -> None:
    """A semantic stage needs no acoustic codes, which cost most."""
    music, out = labelled(tmp_path / "music", LABELS), tmp_path / "tokens"
    store = run(out, music, "--streams", "[semantic,mulan,chord]")
    assert [stream.name for stream in store.description.streams] == ["semantic", "mulan", "chord"]
    assert all(set(row.streams) == {"semantic", "mulan", "chord"} for row in store)
    assert store.description.fingerprints.keys().isdisjoint({"codec"})
    capsys.readouterr()
    run(out, music)
    assert f"{out} has no acoustic, beat, key, drums, and stays without" in capsys.readouterr().err
    run(out, music, "--streams", "[semantic,mulan,chord]")
    assert "stays without" not in capsys.readouterr().err
    assert scored.calls == 1


@pytest.mark.parametrize(
    ("streams", "said"),
    [
        ("[semantic,chord]", "expected semantic and mulan among the streams: no mulan was named"),
        ("[]", "expected semantic and mulan among the streams: no semantic was named"),
        (
            "[semantic,mulan,beats]",
            "expected streams among semantic, acoustic, mulan, beat, key, chord, drums",
        ),
    ],
)
def test_streams_that_no_store_can_have_are_refused(
    streams: str, said: str, tmp_path: Path, scored: Levels, capsys: pytest.CaptureFixture[str]
) -> None:
    music = labelled(tmp_path / "music", LABELS)
    with pytest.raises(SystemExit) as stopped:
        run(tmp_path / "tokens", music, "--streams", streams)
    assert stopped.value.code == 2
    assert said in capsys.readouterr().err
    assert not (tmp_path / "tokens").exists()
