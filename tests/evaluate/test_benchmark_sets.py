"""The tables of public sets are read with the recordings that there are, whatever their files are called."""

from pathlib import Path

import pytest

from musiclm.data.left_out import Report
from musiclm.data.sources import find_recordings
from musiclm.evaluate.benchmark_sets import Item, SetName, read_items
from tests.tiny import tone

CAPTIONS = """ytid,start_s,end_s,aspect_list,caption,is_balanced_subset
-0Gj8-vB1q4,30,40,"['soft']","A soft, slow
ballad",False
1bOSXjDPTsQ,20,30,"['fast']",Fast drums,True
abcdefghijk,0,10,[],A harp,True
gone_______,0,10,[],Not there,True
2empty_____,0,10,[],,True
1bOSXjDPTsQ,20,30,[],Again,True
../../etc,0,10,[],Out of here,True
"""
SONGS = """caption_id,track_id,caption,is_valid_subset
0,1000,A calm guitar,True
1,1000,Strings to think by,False
2,2000,A loud band,True
"""


def folder(root: Path, *names: str) -> Path:
    for name in names:
        tone(0.5, pitch=200.0 + 10 * len(name)).save(root / name)
    return root


def items_of(name: SetName, text: str, root: Path, **words: bool) -> tuple[list[Item], Report]:
    (root / "table.csv").write_text(text)
    report = Report()
    return read_items(name, root / "table.csv", find_recordings(root, report), report, **words), report


def test_captions_find_their_recordings(tmp_path: Path) -> None:
    folder(tmp_path, "[-0Gj8-vB1q4]-[30-40].wav", "1bOSXjDPTsQ.wav", "abcdefghijk_0.wav", "other.wav")
    items, report = items_of("musiccaps", CAPTIONS, tmp_path)
    assert [(item.id, item.caption, item.row) for item in items] == [
        ("-0Gj8-vB1q4", "A soft, slow ballad", 0),
        ("1bOSXjDPTsQ", "Fast drums", 1),
        ("abcdefghijk", "A harp", 2),
    ]
    assert items[0].recording.path.name == "[-0Gj8-vB1q4]-[30-40].wav"
    reasons = [entry.reason for entry in report.left_out]
    assert reasons[:2] == ["its recording is not there", "it has no caption"]
    assert "named twice" in reasons[2]
    assert "expected an id that can name a file in row 7" in reasons[3]


def test_the_part_that_papers_measure_on(tmp_path: Path) -> None:
    folder(tmp_path, "-0Gj8-vB1q4.wav", "1bOSXjDPTsQ.wav")
    items, _ = items_of("musiccaps", CAPTIONS, tmp_path, subset=True)
    assert [item.id for item in items] == ["1bOSXjDPTsQ"]


def test_a_song_has_several_captions(tmp_path: Path) -> None:
    folder(tmp_path, "1000.2min.wav", "2000.wav")
    items, _ = items_of("song_describer", SONGS, tmp_path)
    assert [(item.id, item.recording.path.name) for item in items] == [
        ("1000-0", "1000.2min.wav"),
        ("1000-1", "1000.2min.wav"),
        ("2000-2", "2000.wav"),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b\n1,2\n", "it has no column 'caption'"),
        ("", "it has no rows"),
        ("ytid,caption\nnone,A harp\n", "none can be used"),
    ],
)
def test_another_table_is_refused(text: str, said: str, tmp_path: Path) -> None:
    folder(tmp_path, "1bOSXjDPTsQ.wav")
    with pytest.raises(ValueError, match=said):
        items_of("musiccaps", text, tmp_path)
    with pytest.raises(FileNotFoundError, match="expected the table of musiccaps"):
        read_items("musiccaps", tmp_path / "none.csv", [], Report())
