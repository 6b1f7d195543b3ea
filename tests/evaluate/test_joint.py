"""Retrieval and tagging: 1 for an embedding that knows, 0.5 for one that does not, a line for a mistake."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional

from musiclm.cli import main
from musiclm.evaluate.joint import retrieve, score_tags, tags
from tests.tiny import folder_of_tones, tone

DIMENSION = 64


class Knowing:
    """A part whose text tower knows the tags' texts: each tag has a direction of its own."""

    dimension, window_seconds, sample_rate = DIMENSION, 10.0, 24_000

    def __init__(self) -> None:
        self.axes = {text: index for index, tag in enumerate(tags()) for text in tag.texts}

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        return functional.one_hot(torch.tensor([self.axes[text] for text in texts]), DIMENSION).float()

    def audio_of(self, labels: list[dict[str, Any]]) -> torch.Tensor:
        """What the audio of recordings with these labels would be."""
        true = torch.tensor([[float(tag.holds(each)) for tag in tags()] for each in labels])
        return functional.normalize(functional.pad(true, (0, DIMENSION - true.shape[1])), dim=1)


class Guessing:
    """A part that makes of every text something else, which has nothing to do with any audio."""

    dimension, window_seconds, sample_rate = DIMENSION, 10.0, 24_000

    def embed_text(self, texts: list[str]) -> torch.Tensor:
        return functional.normalize(torch.randn(len(texts), DIMENSION), dim=1)


def some_labels(count: int) -> list[dict[str, Any]]:
    pick = torch.Generator().manual_seed(0)
    leads, genres = ["violin", "flute", "piano"], ["techno", "jazz"]

    def one(of: int) -> int:
        return int(torch.randint(of, (), generator=pick))

    return [
        {
            "lead": leads[one(3)],
            "genre": genres[one(2)],
            "drums": bool(one(2)),
            "mode": ("major", "minor")[one(2)],
            "tempo": float(60 + one(121)),
        }
        for _ in range(count)
    ]


def test_an_embedding_that_knows_the_labels_has_every_area_1() -> None:
    labels = some_labels(40)
    scores = score_tags(Knowing(), Knowing().audio_of(labels), labels)  # type: ignore[arg-type]
    assert {score.tag.kind for score in scores} == {"lead", "genre", "drums", "mode", "tempo"}
    assert all(score.auc == 1.0 for score in scores)
    counts = {score.tag.name: score.count for score in scores}
    assert counts["drums"] + counts["no drums"] == 40
    assert "accordion" not in counts  # of no recording


def test_an_embedding_that_knows_nothing_has_areas_around_a_half() -> None:
    labels = some_labels(400)
    areas = [score.auc for score in score_tags(Guessing(), Guessing().embed_text([""] * 400), labels)]  # type: ignore[arg-type]
    assert sum(areas) / len(areas) == pytest.approx(0.5, abs=0.05)


def test_captions_and_recordings_that_belong_together_find_each_other() -> None:
    vectors, captions = torch.eye(20, DIMENSION), [[f"{row}", f"no. {row}"] for row in range(20)]

    class Reading(Guessing):
        def embed_text(self, texts: list[str]) -> torch.Tensor:
            return torch.eye(20, DIMENSION)[[int(text.split()[-1]) for text in texts]]

    for figures in retrieve(Reading(), vectors, captions).values():  # type: ignore[arg-type]
        assert figures == {"recall_1": 1.0, "recall_10": 1.0, "median_rank": 1.0}
    by_chance = retrieve(Guessing(), Guessing().embed_text([""] * 20), captions)["text→audio"]  # type: ignore[arg-type]
    assert by_chance["recall_10"] == pytest.approx(0.5, abs=0.25)
    assert by_chance["median_rank"] == pytest.approx(10.5, abs=4)


def test_the_texts_of_a_tag_are_said_as_the_captions_say_it() -> None:
    texts = {tag.name: tag.texts for tag in tags()}
    assert "An accordion melody" in texts["accordion"]
    assert "A techno piece" in texts["techno"]
    assert "A very fast piece" in texts["fast"]
    assert not set(texts["slow"]) & set(texts["fast"])
    assert "minor key" in texts["minor"]


def labelled(folder: Path) -> Path:
    """A corpus of its own: four tones and what a table says of them."""
    import pyarrow
    import pyarrow.parquet

    rows = []
    for index, labels in enumerate(some_labels(4)):
        tone(1.0, pitch=220.0 * (index + 1)).save(folder / f"{index}.wav")
        rows.append(
            {
                "id": str(index),
                "path": f"{index}.wav",
                "seconds": 1.0,
                "licence": "CC0-1.0",
                "split": "valid",
                "captions": [f"a {labels['lead']} tone, number {index}"],
                **labels,
            }
        )
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(rows), folder / "corpus.parquet")
    return folder


def test_the_command_prints_both_tables(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["evaluate", "mulan", "--audio", str(labelled(tmp_path))])
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["4", "recordings,", "4", "captions"]
    assert [line[0] for line in lines[2:4]] == ["text→audio", "audio→text"]
    assert all(0 <= float(figure) <= 4 for line in lines[2:4] for figure in line[1:])
    assert lines[-1][:3] == ["mean", "of", "all"]
    assert 0 <= float(lines[-1][-1]) <= 1


def test_recordings_without_labels_are_ranked_all_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = folder_of_tones(tmp_path / "tones", 3, seconds=1.0)
    main(["evaluate", "mulan", "--audio", str(folder), "--split", "all"])
    shown = capsys.readouterr().out
    assert "text→audio" in shown
    assert "no tags: the recordings have no label" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--audio", "nothing"], "found nothing"),
        (["--audio", "bare"], "expected two recordings with captions"),
        (["--audio", "bare", "--split", "some"], "some"),
        (["--audio", "tones", "--split", "all", "--bundle", "no-such-bundle"], "no-such-bundle"),
        (["--audio", "tones", "--split", "all", "--mulan", "tones"], "expected a bundle"),
    ],
)
def test_a_mistake_is_one_line(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    folder_of_tones(tmp_path / "tones", 2, seconds=0.5)
    (tmp_path / "bare").mkdir()
    tone(0.1).save(tmp_path / "bare" / "a.wav")  # without captions
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "mulan", *arguments])
    assert stop.value.code == 2
    line = capsys.readouterr().err
    assert said in line
    assert line.count("\n") == 1
