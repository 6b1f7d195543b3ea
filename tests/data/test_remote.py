"""Music and token stores at URLs: read through a copy, fetched once, written as they are made."""

import http.server
import json
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import fsspec
import pytest

from musiclm.cli import main
from musiclm.data.left_out import Report
from musiclm.data.remote import RemoteCopy, brought_here, written_at
from musiclm.data.sources import SourceOptions, find_recordings
from musiclm.data.store import UNFINISHED, TokenStore
from musiclm.data.token_crops import TokenCrops
from musiclm.files import only_writer, shown, url_of
from tests.data.tokenizing import Levels, fails, run
from tests.tiny import folder_of_tones, make_token_store, tone

System = fsspec.AbstractFileSystem


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MUSICLM_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def bucket() -> Iterator[System]:
    """A file system in memory, with nothing in it."""
    system = fsspec.filesystem("memory")
    for name in system.ls("/", detail=False):
        system.rm(name, recursive=True)
    yield system
    for name in system.ls("/", detail=False):
        system.rm(name, recursive=True)


@pytest.fixture
def music(bucket: System, tmp_path: Path) -> str:
    """Three recordings with captions, at a URL."""
    bucket.put(f"{folder_of_tones(tmp_path / 'tones', 3)}/", "/music", recursive=True)
    return "memory://music"


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the files that are fetched."""
    fetched: list[str] = []
    fetch = RemoteCopy._fetch
    monkeypatch.setattr(
        RemoteCopy, "_fetch", lambda self, name, path: fetched.append(name) or fetch(self, name, path)
    )
    return fetched


@pytest.mark.parametrize(
    ("place", "url"),
    [
        ("s3://bucket/a b/c.wav", "s3://bucket/a b/c.wav"),
        (Path("s3://bucket/c.wav"), "s3://bucket/c.wav"),
        (Path("hf://datasets/me/songs"), "hf://datasets/me/songs"),
        ("music/s3", None),
        ("C:/music", None),
        ("/s3://music", None),
        ("file:///music", None),
    ],
)
def test_a_url_is_known_though_a_path_keeps_one_of_its_slashes(place: str | Path, url: str | None) -> None:
    assert url_of(place) == url


def test_a_folder_that_is_called_like_a_url_is_a_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s3:" / "music").mkdir(parents=True)
    assert url_of("s3:/music") is None
    assert shown(Path("s3:/other")) == "s3://other"


def test_recordings_at_a_url_are_those_of_the_folder_there(music: str, tmp_path: Path) -> None:
    there, here = find_recordings(Path(music)), find_recordings(tmp_path / "tones")
    assert [each.id for each in there] == [each.id for each in here] == ["tone00", "tone01", "tone02"]
    assert [each.captions for each in there] == [each.captions for each in here]


def test_only_what_is_new_or_has_changed_is_fetched_again(
    music: str, bucket: System, counted: list[str]
) -> None:
    bucket.pipe("/music/cover.jpg", b"no music")
    find_recordings(Path(music))
    assert sorted(counted) == [f"tone0{number}{ending}" for number in range(3) for ending in (".txt", ".wav")]
    counted.clear()
    bucket.pipe("/music/tone01.txt", b"another caption\n")
    bucket.rm("/music/tone00.wav")
    recordings = find_recordings(Path(music))
    assert counted == ["tone01.txt"]
    assert [(each.id, each.captions[0]) for each in recordings] == [
        ("tone01", "another caption"),
        ("tone02", "a steady tone, number 2"),
    ]


def test_one_file_that_cannot_be_read_is_left_out(
    music: str, bucket: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    get_file = type(bucket).get_file

    def broken(self: System, path: str, *words: object, **more: object) -> None:
        if path.endswith("tone01.wav"):
            raise RuntimeError("access\ndenied")  # no OSError: each file system has errors of its own
        get_file(self, path, *words, **more)

    monkeypatch.setattr(type(bucket), "get_file", broken)
    report = Report()
    assert [each.id for each in find_recordings(Path(music), report)] == ["tone00", "tone02"]
    (entry,) = report.left_out
    assert (entry.path.name, entry.reason) == ("tone01.wav", "RuntimeError: access denied")


def test_a_name_that_leads_out_of_the_copy_is_not_followed(music: str, bucket: System, cache: Path) -> None:
    bucket.store["/music/../../../evil.wav"] = bucket.store["/music/tone00.wav"]
    find_recordings(Path(music))
    assert not list(cache.parent.rglob("evil.wav"))


def test_tables_name_urls_where_that_is_allowed(
    music: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "songs.csv"
    table.write_text(
        f"path,caption,id\n{music}/tone01.wav,A tone,one\n{music}/gone.wav,Nothing,two\nhere.wav,Near,three\n"
    )
    tone(0.5).save(tmp_path / "here.wav")
    (recording,) = find_recordings(table)
    assert recording.id == "three"
    assert "--source.anywhere true lets it be fetched" in capsys.readouterr().err
    recordings = find_recordings(table, None, SourceOptions(anywhere=True))
    assert [(each.id, each.captions) for each in recordings] == [("one", ("A tone",)), ("three", ("Near",))]
    assert "found nothing at memory://music/gone.wav" in capsys.readouterr().err
    listed = tmp_path / "list.txt"
    listed.write_text(f"{music}/tone02.wav\n{music}/gone.wav\n")
    (recording,) = find_recordings(listed, None, SourceOptions(anywhere=True))
    assert recording.id == "tone02"


def test_a_table_here_names_music_there(music: str, tmp_path: Path) -> None:
    (tmp_path / "songs.jsonl").write_text(json.dumps({"path": "tone02.wav", "caption": "There"}) + "\n")
    (recording,) = find_recordings(tmp_path / "songs.jsonl", None, SourceOptions(root=Path(music)))
    assert (recording.id, recording.captions) == ("tone02", ("There",))


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://nothing", "expected audio or tokens, found nothing at memory://nothing"),
        ("nonsense://x/y", "expected a URL that fsspec can read, got nonsense://x/y"),
        ("http://127.0.0.1:9/music", "expected audio or tokens, found nothing at http://127.0.0.1:9/music"),
    ],
)
def test_what_cannot_be_read_is_said_in_one_line(
    url: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], semantic: Levels
) -> None:
    assert message in fails(capsys, tmp_path / "tokens", url)
    assert not (tmp_path / "tokens").exists()


def test_music_on_a_web_server_is_read_by_its_page_of_links(tmp_path: Path, counted: list[str]) -> None:
    folder = folder_of_tones(tmp_path / "served", 2)
    (folder / "tone00.wav").rename(folder / "a tone, älter.wav")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    handler.func.log_message = lambda *args: None  # type: ignore[method-assign]
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        for _ in range(2):
            assert [each.id for each in find_recordings(Path(url))] == ["a tone, älter", "tone01"]
        assert len(counted) == 4  # two recordings and two captions, once
        assert [each.id for each in find_recordings(Path(f"{url}/tone01.wav"))] == ["tone01"]
        server.shutdown()


def test_a_store_at_a_url_is_made_gone_on_with_and_read(
    music: str, bucket: System, cache: Path, semantic: Levels, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = "memory://tokens/new"
    store = run(Path(url), music)
    assert store.ids() == ["tone00", "tone01", "tone02"]
    names = [Path(name).name for name in bucket.find("/tokens/new")]
    assert "store.yaml" in names
    assert UNFINISHED not in names
    assert not [name for name in names if name.startswith(".")]
    monkeypatch.setenv("MUSICLM_CACHE", str(cache / "of another machine"))
    calls = semantic.calls
    bucket.pipe("/music/more.wav", bucket.cat("/music/tone01.wav")[:50_000])
    assert run(Path(url), music).ids() == ["more", "tone00", "tone01", "tone02"]
    assert semantic.calls == calls + 1  # the others were there
    assert brought_here(Path(url)).is_relative_to(cache / "of another machine")


def test_stages_train_and_stores_are_looked_at_from_a_url(
    bucket: System, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_token_store(tmp_path / "tokens")
    bucket.put(f"{tmp_path / 'tokens'}/", "/store", recursive=True)
    assert len(TokenCrops(Path("memory://store"), 2.0).split("train")) == 2
    main(["tokens", "info", "memory://store"])
    main(["tokens", "verify", "memory://store"])
    out = capsys.readouterr().out
    assert "3 recordings" in out
    assert "all 3 recordings of memory://store are as they must be" in out
    main(["tokens", "merge", "memory://store", str(tmp_path / "tokens"), "--out", "memory://both"])
    assert len(TokenStore("memory://both")) == 6  # of no known files: none is known to be another


def test_what_is_made_is_there_at_once_and_a_mark_while_it_is_made(bucket: System) -> None:
    url = Path("memory://half/store")

    def stopped() -> None:
        with written_at(url) as folder:
            folder.mkdir(parents=True)
            (folder / UNFINISHED).touch()
            (folder / "shard").write_bytes(b"1")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert sorted(bucket.find("/half/store")) == ["/half/store/shard", f"/half/store/{UNFINISHED}"]
    with written_at(url) as folder:
        (folder / UNFINISHED).unlink()
    assert bucket.find("/half/store") == ["/half/store/shard"]


def test_commands_that_write_elsewhere_say_so(tmp_path: Path) -> None:
    with (
        pytest.raises(ValueError, match=r"^expected a folder of this machine to write to, got s3://b/x$"),
        only_writer(Path("s3://b/x")),
    ):
        pass
