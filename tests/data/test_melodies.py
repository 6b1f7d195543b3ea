"""Windows of melodies: the same beat in every version, the same draw each time, held-out music held out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from musiclm.data.melodies import SILENCE, agreement, find_melodies
from musiclm.data.melody_windows import QUERIES, MelodyQueries, MelodyVersions
from tests.tiny import folder_of_melodies


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return folder_of_melodies(tmp_path_factory.mktemp("melodies") / "melodies", 8)


def test_labels_are_what_sounds(folder: Path) -> None:
    version = find_melodies(folder)[0].versions["original"]
    classes = version.pitch_classes(0.0, 3.0)  # 30 labels, five a note
    assert classes.tolist() == np.repeat(version.pitches[:6] % 12, 5).tolist()
    broken = replace(version, ends=version.starts + 0.2)
    silent = broken.pitch_classes(0.0, 3.0).reshape(6, 5) == SILENCE
    assert silent.tolist() == [[False, False, True, True, True]] * 6
    assert (version.pitch_classes(-1.0, 1.0) == SILENCE).all()
    assert (version.pitch_classes(version.seconds, 1.0) == SILENCE).all()


def test_agreement_counts_what_is_heard() -> None:
    silence = np.full(4, SILENCE)
    tune = np.array([0, 4, SILENCE, SILENCE])
    assert agreement(tune, tune) == 1
    assert agreement(tune, np.array([0, 5, SILENCE, SILENCE])) == 0.5
    assert agreement(silence, silence) == 0


def test_versions_of_a_window_begin_at_the_same_beat(folder: Path) -> None:
    windows = MelodyVersions(folder, views=5).windows("train")
    for index in range(8):
        item = windows[index]
        assert item["waveform"].shape == (5, 1, 96_000)
        # Half a second later the fastest and the slowest are a tenth of it apart.
        beginnings = item["classes"][:, :2]
        assert (beginnings == beginnings.mode(dim=0).values).float().mean() >= 0.7
        assert item["waveform"].isfinite().all()


def test_a_draw_depends_on_seed_and_number_alone(folder: Path) -> None:
    windows = MelodyVersions(folder, seed=1).windows("train")
    again = MelodyVersions(folder, seed=1).windows("train")
    other = MelodyVersions(folder, seed=2).windows("train")
    assert torch.equal(windows[5]["waveform"], again[5]["waveform"])
    assert not torch.equal(windows[5]["waveform"], windows[6]["waveform"])
    assert not torch.equal(windows[5]["waveform"], other[5]["waveform"])


def test_without_held_out_melodies_there_is_no_validation_and_one_line_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder_of_melodies(tmp_path / "three", 3)  # every fourth is held out
    data = MelodyVersions(tmp_path / "three")
    assert data.val_dataloader() == []
    assert capsys.readouterr().err == f"no melody of {tmp_path / 'three'} is held out: no validation\n"
    assert len(MelodyQueries(data.windows("valid"), 6)) == 0


def test_splits_share_no_melody(folder: Path) -> None:
    data = MelodyVersions(folder)
    train, valid = ({melody.id for melody in data.split(name)} for name in ("train", "valid"))
    assert valid == {"03", "07"}
    assert not train & valid


def test_queries_are_of_different_music_and_fixed(folder: Path) -> None:
    data = MelodyVersions(folder)
    queries = MelodyQueries(data.windows("valid"), 6)
    assert 2 <= len(queries) <= 6
    items = [queries[index] for index in range(len(queries))]
    for index, item in enumerate(items):
        assert item["waveform"].shape == (1 + len(QUERIES), 1, 96_000)
        others = np.stack([other["classes"][0] for other in items[:index] + items[index + 1 :]])
        assert agreement(others, item["classes"][0].numpy()).max() <= 0.6
    again = MelodyQueries(MelodyVersions(folder).windows("valid"), 6)
    assert torch.equal(again[1]["waveform"], items[1]["waveform"])


def test_a_mix_holds_lead_and_band(folder: Path) -> None:
    windows = MelodyVersions(folder).windows("train")
    melody, rng = windows.melodies[0], np.random.default_rng(0)
    alone, own, stranger = (
        windows.view(melody.versions["original"], 1.0, beside, 0.0, rng)
        for beside in ("alone", "own", "stranger")
    )
    assert 0.05 < (own - alone).std() < 0.2
    assert 0.05 < (stranger - alone).std() < 0.2
    assert not torch.equal(own, stranger)


def test_a_folder_without_melodies_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="musiclm corpus melodies"):
        find_melodies(tmp_path)
