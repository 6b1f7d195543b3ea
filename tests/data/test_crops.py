"""Random crops: which comes when depends on seed and step alone."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import musiclm.data.crops
from musiclm.data.crops import AudioCrops, load_crop
from musiclm.data.loading import ResumableSampler
from tests.tiny import folder_of_tones, tone


def test_a_batch_has_waveforms_captions_ids_and_places(tmp_path: Path) -> None:
    crops = AudioCrops(folder_of_tones(tmp_path, 3), 0.5, batch_size=4, crops_per_epoch=8)
    batch = next(iter(crops.train_dataloader()))
    assert batch["waveform"].shape == (4, 1, 12_000)
    assert batch["waveform"].dtype == torch.float32
    assert len(batch["caption"]) == len(batch["id"]) == len(batch["seconds"]) == 4
    assert all(caption for caption in batch["caption"])


def test_the_same_seed_draws_the_same_crops_and_another_draws_others(tmp_path: Path) -> None:
    folder = folder_of_tones(tmp_path, 3)

    def draw(seed: int) -> torch.Tensor:
        loader = AudioCrops(folder, 0.2, batch_size=8, crops_per_epoch=8, seed=seed).train_dataloader()
        return next(iter(loader))["waveform"]

    assert torch.equal(draw(0), draw(0))
    assert not torch.equal(draw(0), draw(1))


def test_an_epoch_goes_on_where_the_one_before_ended(tmp_path: Path) -> None:
    data = AudioCrops(tmp_path, 1.0, batch_size=1, crops_per_epoch=3)
    sampler = ResumableSampler(3, data)
    drawn = []
    for epoch in range(2):
        data.trainer = trainer_at(epoch)
        drawn += list(sampler)
    assert drawn == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("devices", "batch_size", "batches", "first"),
    [
        (1, 1, 3, 13),
        (1, 2, 3, 16),
        (2, 2, 1, 14),
        (1, 2, 5, 10),
        (2, 2, 2, 10),
    ],  # the last two: a whole epoch
)
def test_an_epoch_that_was_begun_goes_on_after_its_last_batch(
    devices: int, batch_size: int, batches: int, first: int, tmp_path: Path
) -> None:
    data = AudioCrops(tmp_path, 1.0, batch_size=batch_size, crops_per_epoch=10)
    data.trainer = trainer_at(1, batches=batches, devices=devices)
    assert next(iter(ResumableSampler(10, data))) == first


def trainer_at(epoch: int, *, batches: int = 0, devices: int = 1) -> SimpleNamespace:
    """What a sampler asks of a trainer that has done `batches` of an epoch on each device."""
    progress = SimpleNamespace(current=SimpleNamespace(completed=batches))
    fit_loop = SimpleNamespace(epoch_loop=SimpleNamespace(batch_progress=progress))
    return SimpleNamespace(current_epoch=epoch, world_size=devices, fit_loop=fit_loop)


def test_validation_crops_are_fixed(tmp_path: Path) -> None:
    crops = AudioCrops(folder_of_tones(tmp_path, 3, held_out=2), 0.2, batch_size=4, validation_crops=6)
    once, again = ([batch["waveform"] for batch in crops.val_dataloader()] for _ in range(2))
    assert [len(waveform) for waveform in once] == [4, 2]
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


def test_validation_hears_held_out_recordings_alone_and_training_the_others(tmp_path: Path) -> None:
    crops = AudioCrops(folder_of_tones(tmp_path, 3, held_out=2), 0.2, batch_size=4, crops_per_epoch=32)
    heard, measured = (
        {id for batch in loader for id in batch["id"]}
        for loader in (crops.train_dataloader(), crops.val_dataloader())
    )
    assert heard == {"tone00", "tone01", "tone02"}
    assert len(measured) == 2
    assert all(id.startswith("held") for id in measured)


def test_without_held_out_recordings_there_is_no_validation_and_one_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    crops = AudioCrops(folder_of_tones(tmp_path / "music", 2), 0.2, batch_size=4)
    assert crops.val_dataloader() == []
    assert capsys.readouterr().err == f"no recording of {tmp_path / 'music'} is held out: no validation\n"


def test_music_that_is_all_held_out_is_not_trained_on(tmp_path: Path) -> None:
    crops = AudioCrops(folder_of_tones(tmp_path, 0, held_out=2), 0.2, batch_size=4)
    with pytest.raises(ValueError, match=r"expected a recording to train on in .*, all are held out"):
        crops.train_dataloader()
    assert len(crops.val_dataloader()) == 16


def test_a_crop_longer_than_its_recording_ends_in_silence(tmp_path: Path) -> None:
    path = tone(0.5).save(tmp_path / "a.wav")
    crop = load_crop(path, 0.25, 1.0, 24_000)
    assert crop.shape == (1, 24_000)
    assert crop[:, :6_000].abs().max() > 0.1
    assert crop[:, 6_000:].abs().max() == 0


def run_of(folder: Path) -> SimpleNamespace:
    """What a data module asks of a trainer before it trains."""
    return SimpleNamespace(default_root_dir=str(folder), is_global_zero=True)


def test_what_cannot_be_trained_on_is_left_out_and_stands_in_the_runs_folder(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    music, run = folder_of_tones(tmp_path / "music", 3), tmp_path / "run"
    (music / "words.wav").write_text("no audio")
    tone(0.4).save(music / "short.wav")  # half of a crop would be padding
    crops = AudioCrops(music, 1.0, batch_size=2, crops_per_epoch=4)
    crops.trainer = run_of(run)
    assert [recording.id for recording in crops.recordings] == ["tone00", "tone01", "tone02"]
    table = (run / "left_out.tsv").read_text()
    assert "short.wav\t0.4 s, too short: crops of 1 s need half of it\n" in table
    assert "words.wav\t" in table
    assert capsys.readouterr().err.splitlines()[-1] == f"3 recordings, 2 left out: see {run}/left_out.tsv"
    strict = AudioCrops(music, 1.0, batch_size=2, crops_per_epoch=4, strict=True)
    with pytest.raises(ValueError, match="are left out"):
        strict.split("train")


def test_nothing_is_trained_on_padding(tmp_path: Path) -> None:
    crops = AudioCrops(folder_of_tones(tmp_path, 2, seconds=0.4), 1.0, batch_size=2, crops_per_epoch=4)
    with pytest.raises(ValueError, match=r"at least half a crop of 1 s, the longest is 0\.4 s"):
        crops.split("train")


def test_crops_that_cannot_be_read_are_replaced_the_same_way_whenever_that_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(path: Path, start: float, seconds: float, sample_rate: int) -> torch.Tensor:
        if path.stem == "tone01":
            raise ValueError("it is damaged from 1 s on")
        return torch.zeros(1, 8)

    def draw(first: int) -> list[tuple[str, float]]:
        crops = AudioCrops(tmp_path, 0.5, batch_size=4, crops_per_epoch=8)
        data = crops.train_dataloader().dataset
        drawn = [(data[index]["id"], data[index]["seconds"]) for index in range(first, 24)]
        assert [entry.path.stem for entry in data.report.left_out] == ["tone01"]  # once
        return drawn

    folder_of_tones(tmp_path, 3)
    monkeypatch.setattr(musiclm.data.crops, "load_crop", load)
    whole = draw(0)
    assert {id for id, _ in whole} == {"tone00", "tone02"}
    assert draw(9) == whole[9:]
    monkeypatch.setattr(musiclm.data.crops, "TRIES", 5)
    (tmp_path / "tone00.wav").unlink()
    (tmp_path / "tone02.wav").unlink()
    with pytest.raises(ValueError, match=r"5 crops in a row cannot, the last of .*tone01\.wav"):
        draw(0)
