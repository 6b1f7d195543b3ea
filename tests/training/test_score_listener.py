"""Training of the score listener: targets lie where the labels say, a tiny run makes a part that hears."""

from pathlib import Path
from typing import Any

import pytest
import torch

from musiclm.bundle import Bundle, merge
from musiclm.cli import main
from musiclm.data.sources import Recording
from musiclm.data.sources.corpus_table import TABLE_NAME
from musiclm.data.stream_makers import Material
from musiclm.score.codes import CHORD_QUALITIES, STREAMS
from musiclm.score.listener import LEVEL, ScoreListener
from musiclm.score.score import Chord, From, Key, Score, steady_beats
from musiclm.training.score_listener import leveled, losses_of
from musiclm.training.score_targets import UNKNOWN, coloured, interrupted, of_crop, resampled, targets_of
from tests.data.tokenizing import run
from tests.tiny import SAMPLE_RATE, folder_of_tones, noise, tone
from tests.tiny_model import make_bundle
from tests.training.runs import words

SCORE = Score(
    8.0,
    steady_beats(8.0, 120.0, 3),
    (From(0.0, Key(2, "minor")),),
    (From(0.0, Chord(2, "minor")), From(4.0, Chord(7, "major"))),
    (From(0.0, True),),
)


def make_part() -> ScoreListener:
    torch.manual_seed(0)
    return ScoreListener(2, 4, harmony_layers=1, width=4, layers=2)


def test_targets_lie_where_the_score_says() -> None:
    targets = targets_of([SCORE, Score(8.0)], 100)
    beat = targets.beat[0]
    assert beat[:4].tolist() == [1.0, 0.5, 0.0, 0.0]
    assert (beat == 1).nonzero().flatten().tolist() == list(range(0, 400, 25))
    assert targets.downbeat[0, [0, 25, 50, 75]].tolist() == [1, 0, 0, 1]
    assert targets.root[0, [0, 49, 50]].tolist() == [2, 2, 7]
    qualities = [CHORD_QUALITIES.index(each) for each in ("minor", "major")]
    assert targets.quality[0, [0, 50]].tolist() == qualities
    assert (targets.key[0] == 12 + 2).all()
    assert (targets.drums[0] == 1).all()
    assert targets.beat_known[0].min() == 1
    for name in ("drums", "root", "quality", "key"):  # of the second nothing is known
        assert (getattr(targets, name)[1] == UNKNOWN).all()
    assert targets.beat_known[1].max() == 0


def test_a_score_is_cut_sped_up_and_transposed_as_its_crop_is() -> None:
    crop = of_crop(SCORE, 1.0, 6.0, speed=2 ** (2 / 12), semitones=2)
    assert crop.seconds == pytest.approx(6 / 2 ** (2 / 12))
    assert crop.beats[3].at == pytest.approx(0.5 / 2 ** (2 / 12))
    assert (crop.keys[0].what, crop.chords[1].what) == (Key(4, "minor"), Chord(9, "major"))
    sound = tone(1.0, pitch=400.0).waveform[None]
    faster = resampled(sound, SAMPLE_RATE // 2)
    assert faster.shape == (1, 1, SAMPLE_RATE // 2)
    assert torch.fft.rfft(faster[0, 0]).abs().argmax() == 400  # cycles, in half of the time


def test_noise_has_no_beat_and_no_chord() -> None:
    waveform = torch.ones(4, 1, 8 * SAMPLE_RATE)
    chosen = torch.tensor([True, True, True, False])
    heard, targets = interrupted(waveform, targets_of([SCORE] * 4, 100), torch.zeros_like(waveform), chosen)
    gone = heard[:, 0, :: SAMPLE_RATE // 50] == 0  # [4, R], to a frame
    assert (gone[:3].float().mean(dim=1) > 0.2).all()
    assert not gone[3].any()
    inside = gone[:, 2:] & gone[:, :-2]
    assert not targets.beat[:, 1:-1][inside].any()
    assert not targets.drums[:, 1:-1][inside].any()
    assert (targets.root == 12).any(dim=1).tolist() == chosen.tolist()


def test_filters_and_noise_leave_the_music_the_loudest() -> None:
    music = tone(2.0).waveform[None].expand(8, -1, -1)
    heard, alone = coloured(music)
    assert heard.shape == alone.shape == music.shape
    assert (torch.fft.rfft(heard[:, 0]).abs().argmax(dim=1) == 880).all()
    assert torch.isfinite(alone).all()
    levels = leveled(heard).square().mean(dim=2).sqrt()
    assert torch.allclose(levels, torch.full_like(levels, LEVEL), rtol=1e-3)


def test_only_the_quality_on_the_true_root_is_asked_for() -> None:
    part = make_part()
    said = part(noise(8 * SAMPLE_RATE))
    quality = said.quality.detach().clone().requires_grad_()
    losses = losses_of(type(said)(**vars(said) | {"quality": quality}), targets_of([SCORE], 100))
    losses["quality"].backward()
    assert quality.grad is not None
    assert quality.grad.abs().sum(dim=(0, 1, 3)).nonzero().flatten().tolist() == [2, 7]
    assert all(loss.isfinite() and loss > 0 for loss in losses.values())


def test_a_few_steps_lower_the_loss() -> None:
    part = make_part()
    waveform, targets = leveled(noise(8 * SAMPLE_RATE)), targets_of([SCORE], 100)
    optimizer = torch.optim.Adam(part.parameters(), lr=1e-2)
    totals = []
    for _ in range(4):
        total = sum(losses_of(part(waveform), targets).values(), torch.zeros(()))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        totals.append(float(total.detach()))
    assert totals[-1] < 0.97 * totals[0]


def corpus(folder: Path) -> Path:
    """Tones with labels, one of them held out."""
    import pyarrow
    import pyarrow.parquet

    folder_of_tones(folder, 3, seconds=3.0)
    chords = [{"start": 0.0, "root": 9, "quality": "major"}]
    rows = [
        {"id": path.stem, "path": path.name, "split": "valid" if number == 0 else "train", "tempo": 120.0,
         "beats_per_bar": 4, "tonic": 9, "mode": "major", "drums": False, "chords": chords}
        for number, path in enumerate(sorted(folder.glob("*.wav")))
    ]  # fmt: skip
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / TABLE_NAME)
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_a_tiny_run_makes_a_part_that_tokenizing_hears_with(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = f"audio={corpus(tmp_path / 'corpus')}"
    main(["fit", *words("score_listener", data, tmp_path / "run")])
    said = capsys.readouterr()
    for name in ("val/beat", "val/downbeat", "val/root", "val/chord", "val/key", "val/drums"):
        assert name in said.out + said.err
    part = Bundle(tmp_path / "run" / "part")
    assert list(part.components) == ["score_listener"]

    music = folder_of_tones(tmp_path / "music", 1)
    whole = merge([Bundle(make_bundle(tmp_path / "made")), part], tmp_path / "whole")
    store = run(tmp_path / "tokens", music, "--bundle", whole.path)
    for stream in STREAMS:
        assert store.description[stream.name].made_by == ("score_listener",)
        assert store[0].streams[stream.name].shape == (stream.levels, 50)
    assert store.description.fingerprints["score_listener"] == whole.fingerprint("score_listener")


def test_labels_are_believed_and_the_rest_is_heard() -> None:
    class Hears(ScoreListener):
        def hear(self, waveform: torch.Tensor) -> Score:
            return SCORE

    labels: dict[str, Any] = {"tonic": 5, "mode": "major", "chords": None}
    recording = Recording("a", Path("a.wav"), 8.0, "CC0-1.0", "train", labels=labels)
    audio = tone(8.0)
    score = Material(recording, audio, Hears(1, 1, harmony_layers=1, width=1, layers=1)).score
    assert score.keys == (From(0.0, Key(5, "major")),)
    assert (score.beats, score.chords, score.drums) == (SCORE.beats, SCORE.chords, SCORE.drums)
    assert Material(recording, audio).score.known == ("keys",)
