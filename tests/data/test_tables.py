"""Tables of recordings as people have them: csv, JSON lines, lists, patterns, and those of public sets."""

import json
import os
from pathlib import Path

import pytest

from musiclm.data.left_out import Report
from musiclm.data.sources import Recording, SourceOptions, find_recordings, split_of
from tests.tiny import tone


def songs(root: Path, *names: str) -> Path:
    for number, name in enumerate(names):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        tone(0.2, pitch=200.0 + 20 * number).save(root / name)
    return root


def found(place: Path, report: Report | None = None, **options: object) -> dict[str, Recording]:
    chosen = SourceOptions(**options)  # type: ignore[arg-type]
    return {recording.id: recording for recording in find_recordings(place, report, chosen)}


def test_a_csv_names_files_captions_and_labels(tmp_path: Path) -> None:
    songs(tmp_path, "a.wav", "sub/b.wav", "c.wav")
    table = tmp_path / "songs.csv"
    table.write_text(
        'file,caption,artist,split,license\na.wav,"Soft, slow",X,,CC-BY\n'
        "sub/b.wav,Loud,Y,validation,\na.wav,Calm,X,,\n"
    )
    recordings = found(table)
    assert set(recordings) == {"a", "sub/b"}  # the table says what is taken
    assert recordings["a"].captions == ("Soft, slow", "Calm")
    assert (recordings["a"].licence, recordings["sub/b"].licence) == ("CC-BY", "unknown")
    assert recordings["a"].labels == {"artist": "X"}
    assert (recordings["a"].split, recordings["sub/b"].split) == (split_of("a"), "valid")


def test_cells_are_the_numbers_and_truths_that_they_say(tmp_path: Path) -> None:
    songs(tmp_path, "a.wav")
    (tmp_path / "t.csv").write_text("path,tempo,drums,key,bars,odd\na.wav,120.5,no,A minor,007,1_0\n")
    labels = {"tempo": 120.5, "drums": False, "key": "A minor", "bars": 7, "odd": "1_0"}
    assert found(tmp_path / "t.csv")["a"].labels == labels


def test_columns_of_any_name_are_named(tmp_path: Path) -> None:
    songs(tmp_path / "audio", "a.wav")
    table = tmp_path / "songs.tsv"
    table.write_text("Stück\tBeschreibung\na.wav\tEin Walzer\n", encoding="utf-16")
    with pytest.raises(ValueError, match=r"^expected a column with the files' paths in [^\n]+path_column$"):
        found(table)
    named = {"path_column": "Stück", "caption_column": "Beschreibung", "root": tmp_path / "audio"}
    assert found(table, **named)["a"].captions == ("Ein Walzer",)
    with pytest.raises(ValueError, match=r"^expected --source.caption_column to be one of [^\n]+got words$"):
        found(table, **named | {"caption_column": "words"})


def test_a_folder_with_metadata_is_an_audio_folder(tmp_path: Path) -> None:
    songs(tmp_path, "train/a.wav", "train/b.wav")
    (tmp_path / "train" / "metadata.csv").write_text("file_name,text\na.wav,A harp\n")
    assert {id: each.captions for id, each in found(tmp_path / "train").items()} == {"a": ("A harp",)}


def test_a_folder_with_another_table_in_it_is_a_folder(tmp_path: Path) -> None:
    songs(tmp_path, "a.wav", "b.wav")
    (tmp_path / "metadata.csv").write_text("key,value\nyear,1999\n")
    (tmp_path / "tracks.csv").write_text("number,title\n1,A song\n")
    (tmp_path / "metadata.jsonl").write_text('{"year": 1999}\n')
    (tmp_path / "sales.tsv").write_text("what\thow many\n")
    os.mkfifo(tmp_path / "pipe.csv")  # which is never opened
    assert set(found(tmp_path)) == {"a", "b"}


def test_lines_of_json_as_audiocraft_has_them(tmp_path: Path) -> None:
    songs(tmp_path, "a.wav", "b.wav", "c.wav")
    (tmp_path / "b.json").write_text(json.dumps({"description": "From its info", "bpm": 120}))
    lines = [
        {"path": str(tmp_path / "a.wav"), "duration": 0.2, "sample_rate": 24_000, "weight": None},
        {"path": "b.wav", "info_path": "b.json"},
        {"path": "c.wav", "text": ["One", "Two"]},
    ]
    table = tmp_path / "data.jsonl"
    table.write_text("\n".join(map(json.dumps, lines)) + "\n\nno json\n[1]\n")
    report = Report()
    recordings = found(table, report)
    assert [recordings[Path(id).name].captions if id in recordings else None for id in ("b", "c")] == [
        ("From its info",),
        ("One", "Two"),
    ]
    assert len(recordings) == 3
    assert [entry.reason for entry in report.left_out] == [
        "line 5 is no object of JSON",
        "line 6 is no object of JSON",
    ]


def test_captions_beside_files_count_where_a_table_has_none(tmp_path: Path) -> None:
    songs(tmp_path, "a.wav", "b.wav", "c.wav")
    (tmp_path / "a.txt").write_text("Beside")
    (tmp_path / "b_prompt.txt").write_text("A prompt")
    (tmp_path / "c.json").write_text('{"caption": "In JSON", "tags": ["x"]}')
    (tmp_path / "list.csv").write_text("path\na.wav\nb.wav\nc.wav\n")
    said = {id: each.captions for id, each in found(tmp_path / "list.csv").items()}
    assert said == {"a": ("Beside",), "b": ("A prompt",), "c": ("In JSON",)}
    (tmp_path / "list.csv").unlink()
    assert {id: each.captions for id, each in found(tmp_path).items()} == said


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.csv", "path\n../out.wav\n{absolute}\na.wav\n"),
        ("t.jsonl", '{{"path": "../out.wav"}}\n{{"path": "{absolute}"}}\n{{"path": "a.wav"}}\n'),
        ("t.m3u", "#EXTM3U\n#EXTINF:1,A title\n../out.wav\n{absolute}\na.wav\n"),
    ],
)
def test_a_table_cannot_make_it_read_outside_its_folder(name: str, text: str, tmp_path: Path) -> None:
    songs(tmp_path, "out.wav", "other.wav", "in/a.wav")
    table = tmp_path / "in" / name
    table.write_text(text.format(absolute=tmp_path / "other.wav"))
    report = Report()
    assert set(found(table, report)) == {"a"}
    assert [entry.reason.split(":")[0] for entry in report.left_out] == [f"outside {tmp_path / 'in'}"] * 2
    assert len(found(table, anywhere=True)) == 3


def test_names_that_no_file_can_have_are_left_out(tmp_path: Path) -> None:
    songs(tmp_path, "a.wav")
    table = tmp_path / "t.jsonl"
    table.write_text("\n".join(json.dumps({"path": name}) for name in (".", "a\0b.wav", "", 3, "a.wav")))
    report = Report()
    assert set(found(table, report)) == {"a"}
    assert len(report.left_out) == 4


def test_a_link_inside_the_folder_is_the_users_own(tmp_path: Path) -> None:
    songs(tmp_path, "elsewhere/a.wav")
    (tmp_path / "in").mkdir()
    os.symlink(tmp_path / "elsewhere", tmp_path / "in" / "linked")
    (tmp_path / "in" / "t.csv").write_text("path\nlinked/a.wav\n")
    assert set(found(tmp_path / "in" / "t.csv")) == {"linked/a"}


def test_patterns_and_lists(tmp_path: Path) -> None:
    songs(tmp_path, "x/a.wav", "x/y/b.flac", "x/y/c.wav")
    assert set(found(tmp_path / "x" / "**" / "*.wav")) == {"a", "c"}
    with pytest.raises(FileNotFoundError, match=r"^expected audio files, found none by the pattern [^\n]+$"):
        found(tmp_path / "*.ogg")
    (tmp_path / "mine.txt").write_text("x/y\nx/gone.wav\n")
    report = Report()
    assert set(found(tmp_path / "mine.txt", report)) == {"b", "c"}
    assert [entry.path.name for entry in report.left_out] == ["gone.wav"]
    songs(tmp_path, "what [live].wav")
    assert set(found(tmp_path / "what [live].wav")) == {"what [live]"}  # a file's own name is no pattern


FMA = """,album,artist,set,set,track,track,track
,title,name,split,subset,genre_top,license,title
track_id,,,,,,,
2,Album,AWOL,training,small,Hip-Hop,CC-BY,Food
5,Album,AWOL,test,small,Hip-Hop,,"This, World"
134,Other,Else,training,small,Rock,,Gone
"""


def test_fma_as_it_is_unpacked(tmp_path: Path) -> None:
    songs(tmp_path, "fma_small/000/000002.wav", "fma_small/000/000005.wav", "fma_small/000/000777.wav")
    (tmp_path / "fma_metadata").mkdir()
    (tmp_path / "fma_metadata" / "tracks.csv").write_text(FMA)
    report = Report()
    recordings = found(tmp_path, report)
    assert set(recordings) == {"000002", "000005"}
    first, second = recordings["000002"], recordings["000005"]
    assert first.labels == {"artist": "AWOL", "album": "Album", "title": "Food", "genre": "Hip-Hop"}
    assert (first.split, second.split) == ("train", "valid")
    assert (first.licence, second.licence) == ("CC-BY", "unknown")
    assert [entry.reason for entry in report.warnings] == ["1 of its 3 recordings are not there"]
    alone = found(tmp_path / "fma_metadata" / "tracks.csv", root=tmp_path / "fma_small")
    assert set(alone) == set(recordings)
    with pytest.raises(ValueError, match=r"^expected recordings of [^\n]+ found none of its 3: [^\n]+root$"):
        found(tmp_path / "fma_metadata" / "tracks.csv")


def test_mtg_jamendo(tmp_path: Path) -> None:
    songs(tmp_path, "48/948.low.wav", "14/214.wav")
    (tmp_path / "autotagging.tsv").write_text(
        "TRACK_ID\tARTIST_ID\tALBUM_ID\tPATH\tDURATION\tTAGS\n"
        "track_0000214\tartist_000014\talbum_000031\t14/214.mp3\t124.6\tgenre---punkrock\n"
        "track_0000948\tartist_000087\talbum_000149\t48/948.mp3\t212.7\tgenre---rock\tgenre---pop\tmood/theme---sad\n"
        "torn\n"
    )
    report = Report()
    recordings = found(tmp_path, report)
    assert recordings["948"].labels == {
        "artist": "artist_000087", "album": "album_000149", "genre": ["rock", "pop"], "mood/theme": ["sad"],
    }  # fmt: skip
    assert set(recordings) == {"214", "948"}
    assert "line 4 has 1 cells" in report.left_out[0].reason


def test_musiccaps_and_song_describer(tmp_path: Path) -> None:
    caps = songs(tmp_path / "caps", "[-0Gj8-vB1q4]-[30-40].wav", "1bOSXjDPTsQ.wav")
    (caps / "musiccaps-public.csv").write_text(
        'ytid,start_s,end_s,aspect_list,caption\n-0Gj8-vB1q4,30,40,"[\'soft\']","A soft, slow\nballad"\n'
        "1bOSXjDPTsQ,20,30,,Fast drums\n"
    )
    said = {id: each.captions for id, each in found(caps).items()}
    assert said == {"-0Gj8-vB1q4": ("A soft, slow ballad",), "1bOSXjDPTsQ": ("Fast drums",)}
    describer = songs(tmp_path / "sdd", "audio/00/1000.2min.wav")
    (describer / "song_describer.csv").write_text(
        "caption_id,track_id,caption,is_valid_subset,artist_id,album_id,path,duration\n"
        "0,1000,A calm guitar,True,7,8,00/1000.mp3,120\n"
        "1,1000,Strings to think by,False,7,8,00/1000.mp3,120\n"
    )
    (recording,) = found(describer).values()
    assert recording.captions == ("A calm guitar", "Strings to think by")
    assert recording.labels == {"artist": "7", "album": "8"}


def test_recordings_of_one_artist_or_folder_are_on_one_side(tmp_path: Path) -> None:
    names = [f"{folder}/{number}.wav" for folder in "abcdefghijklmnopqrst" for number in range(2)]
    songs(tmp_path, *names)
    by_folder = find_recordings(tmp_path, options=SourceOptions(split_by="folder"))
    sides = {each.path.parent.name: each.split for each in by_folder}
    assert all(
        sides[each.path.parent.name] == each.split == split_of(each.path.parent.name) for each in by_folder
    )
    (tmp_path / "t.csv").write_text("path,artist\n" + "".join(f"{name},{name[0]}\n" for name in names[:10]))
    by_artist = find_recordings(tmp_path / "t.csv", options=SourceOptions(split_by="artist"))
    assert all(each.split == split_of(each.labels["artist"]) for each in by_artist)
    with pytest.raises(
        ValueError, match=r"^expected recordings with the label genre [^\n]+ artist, and folder$"
    ):
        find_recordings(tmp_path / "t.csv", options=SourceOptions(split_by="genre"))


def test_a_folder_of_ones_own_is_held_out(tmp_path: Path) -> None:
    songs(tmp_path, "train/a.wav", "train/held/b.wav", "other/c.wav")
    sides = {
        each.path.name: each.split
        for each in find_recordings(
            tmp_path / "train", options=SourceOptions(validation=tmp_path / "train" / "held")
        )
    }
    assert sides == {"a.wav": "train", "b.wav": "valid"}
    sides = {
        each.path.name: each.split
        for each in find_recordings(tmp_path / "train", options=SourceOptions(validation=tmp_path / "other"))
    }
    assert sides == {"a.wav": "train", "b.wav": "train", "c.wav": "valid"}
    with pytest.raises(ValueError, match=r"^expected source\.split_by or source\.validation, not both$"):
        SourceOptions(split_by="artist", validation=tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.csv", b"", r"expected a header in [^\n]+"),
        ("t.csv", bytes(range(1, 32)) * 9, r"expected text [^\n]+"),
        ("t.csv", b"a,b\n1,2\n", r"expected a column with the files' paths [^\n]+"),
        ("t.jsonl", b"", r"expected audio files [^\n]+found none in [^\n]+"),
        ("t.jsonl", b'{"id": 3}\n', r"expected a column with the files' paths [^\n]+"),
        ("t.m3u", b"", r"expected audio files [^\n]+found none in [^\n]+"),
    ],
)
def test_tables_that_are_none_are_refused_in_one_line(
    name: str, content: bytes, said: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises((ValueError, FileNotFoundError), match=f"^{said}$"):
        find_recordings(tmp_path / name)
