"""Music and token stores at a URL (`s3://`, `gs://`, `hf://`, `https://`, ...), through fsspec.

What is read there is copied into the cache first, each file whole or not at all, and not again as long as it
stays what it was. A token store that is written there is made in its copy, and its files follow as they come.
"""

import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from hashlib import sha256
from pathlib import Path
from threading import Event, Thread
from typing import Any
from urllib.parse import unquote, urlsplit

from musiclm.data.left_out import LeftOut, reason_of
from musiclm.files import cache_folder, replacing, url_of, write_whole
from musiclm.progress import Progress

STATE = (  # what file systems call the size of a file, its content's hash, and when it was written
    "size", "ETag", "etag", "md5Hash", "Content-MD5", "Last-Modified", "mtime", "last_modified",
    "LastModified", "updated", "created", "blob_id",
)  # fmt: skip
AT_ONCE = 8  # files that are copied: it waits for the network
MANY = 20  # files, from which on the user is told how it goes
PUSHED_EVERY = 30.0  # seconds, while a store is made
FIRST = "unfinished"  # the mark of a store that is being made comes before all else, and goes after it


def brought_here(
    place: Path,
    leave_out: Callable[[Path, str], None] | None = None,
    wanted: Callable[[str], bool] | None = None,
) -> Path:
    """The place itself; of a URL, its copy on this machine, brought up to date.

    Args:
        place: a file or a folder.
        leave_out: is told of files that cannot be copied, and why; without it, the first of them is an error.
        wanted: the names of files that are copied, where some may be left out; without it, all are.

    Raises:
        OSError, ValueError: nothing can be read there.
    """
    url = url_of(place)
    if url is None:
        return Path(place)
    copy = RemoteCopy(url)
    if leave_out is None:
        copy.pull_whole()
        return copy.path
    for entry in copy.pull(wanted or _any):
        leave_out(copy.path / entry.path, entry.reason)
    return copy.path


@contextmanager
def written_at(place: Path) -> Iterator[Path]:
    """The folder to write to: the place itself; of a URL, its copy, whose files go there, now and at the end.

    Raises:
        OSError, ValueError: nothing can be written there.
    """
    url = url_of(place)
    if url is None:
        yield place
        return
    copy = RemoteCopy(url)
    copy.check_writable()
    if copy.exists():
        copy.pull_whole()
    with copy.pushed_meanwhile():
        yield copy.path


class RemoteCopy:
    """A copy of what is at a URL. An index says of each of its files what it was there when it was copied.

    Args:
        url: of a file or a folder.

    Raises:
        ValueError: no file system is known for it, or the package for it is not installed.
    """

    def __init__(self, url: str) -> None:
        from fsspec.core import url_to_fs

        self.url = url.rstrip("/")
        try:
            self._system, self._root = url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise ValueError(f"expected a URL that fsspec can read, got {url}: {reason_of(error)}") from None
        scheme, _, rest = self.url.partition("://")
        self.path = cache_folder("remote", scheme) / os.path.normpath("/" + rest).lstrip("/")
        self._index_file = (
            cache_folder("remote", "index") / f"{sha256(self.url.encode()).hexdigest()[:32]}.json"
        )
        self._index = self._read_index()  # by name: state there, size and time of the copy

    def exists(self) -> bool:
        """Whether there is anything at the URL."""
        return bool(self._asked("read", self._system.exists, self._root))

    def check_writable(self) -> None:
        """Raise OSError where nothing can be written."""
        mark = f"{self._root}/.writable"
        self._asked("write to", self._system.pipe_file, mark, b"")
        self._asked("write to", self._system.rm_file, mark)

    def pull(self, wanted: Callable[[str], bool]) -> list[LeftOut]:
        """Copy what is new or has changed there, and remove what is there no more.

        Args:
            wanted: the names of files that are copied.

        Returns:
            Names of the files that cannot be copied, and why.
        """
        there = self._listed(wanted)
        for name in self._index.keys() - there.keys():
            self._here(name).unlink(missing_ok=True)
            del self._index[name]
        changed = [name for name in there if not self._is_known(name, there[name])]
        left_out = []
        try:
            with (
                ThreadPoolExecutor(AT_ONCE) as pool,
                Progress("fetch", len(changed), unit="file")
                if len(changed) >= MANY
                else nullcontext() as counter,
            ):
                fetched = pool.map(self._fetch, changed, _paths(there, changed))
                for name, reason in zip(changed, fetched, strict=True):
                    if reason is not None:
                        left_out.append(LeftOut(Path(name), reason))
                    else:
                        self._index[name] = [_state(there[name]), _stamp(self._here(name))]
                    if counter:
                        counter.advance()
        finally:
            self._write_index()
        return left_out

    def pull_whole(self) -> None:
        """The same of all files; raise OSError for the first that cannot be copied."""
        for entry in self.pull(_any):
            raise OSError(f"expected to read {self.url}/{entry.path}: {entry.reason}")

    def push(self) -> None:
        """Write there what is new or has changed in the copy, and remove what is in the copy no more."""
        files = (path for path in self.path.rglob("*") if path.is_file())
        names = [str(path.relative_to(self.path)) for path in files if not path.name.startswith(".")]
        for name in sorted(names, key=lambda name: (name != FIRST, name)):
            stamp = _stamp(self._here(name))  # before it is read: what is written meanwhile goes next time
            if self._index.get(name, [None, None])[1] != stamp:
                self._asked("write to", self._system.put_file, str(self._here(name)), self._there(name))
                self._index[name] = [_state(self._asked("read", self._system.info, self._there(name))), stamp]
        for name in sorted(self._index.keys() - set(names), key=lambda name: (name == FIRST, name)):
            self._asked("write to", self._system.rm_file, self._there(name))
            del self._index[name]
        self._write_index()

    @contextmanager
    def pushed_meanwhile(self) -> Iterator[None]:
        """Push every now and then while the `with` block runs, and at its end, however it ends."""
        done = Event()

        def now_and_then() -> None:
            while not done.wait(PUSHED_EVERY):
                with suppress(OSError):  # a network may be gone for a while; at the end it is an error
                    self.push()

        pushing = Thread(target=now_and_then, daemon=True)
        pushing.start()
        try:
            yield
        finally:
            done.set()
            pushing.join()
            self.push()

    def _listed(self, wanted: Callable[[str], bool]) -> dict[str, dict[str, Any]]:
        """What fsspec knows of each wanted file, by its name under the URL; of a file's own URL, ""."""
        info = self._asked("read", self._system.info, self._root)
        is_web = "http" in self._system.protocol
        is_page = is_web and not Path(urlsplit(self._root).path).suffix  # of links, which a folder is there
        if info["type"] == "file" and not is_page:
            return {"": info}
        found = self._asked("read", self._system.find, self._root, detail=True)
        listed = {path.removeprefix(self._root).lstrip("/"): each for path, each in found.items()}
        if is_web:
            listed = {unquote(name): each for name, each in listed.items() if "?" not in name}
        listed = {name: each for name, each in listed.items() if _stays_inside(name) and wanted(name)}
        unknown = [name for name, each in listed.items() if each.get("size") is None]
        with ThreadPoolExecutor(AT_ONCE) as pool:
            asked = pool.map(partial(self._asked, "read", self._system.info), _paths(listed, unknown))
            return listed | dict(zip(unknown, asked, strict=True))

    def _fetch(self, name: str, path: str) -> str | None:
        """Copy a file; returns why it cannot be copied."""
        try:
            self._here(name).parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._here(name)) as temporary:
                self._system.get_file(path, str(temporary))
        except Exception as error:  # each file system has errors of its own
            return reason_of(error)
        return None

    def _asked(self, to: str, question: Callable[..., Any], *args: Any, **words: Any) -> Any:
        """What the file system answers.

        Raises:
            OSError: it cannot be reached, or refuses.
        """
        try:
            return question(*args, **words)
        except FileNotFoundError:
            raise FileNotFoundError(f"expected audio or tokens, found nothing at {self.url}") from None
        except Exception as error:  # each file system has errors of its own
            raise OSError(f"expected to {to} {self.url}: {reason_of(error)}") from None

    def _here(self, name: str) -> Path:
        return self.path / name if name else self.path

    def _there(self, name: str) -> str:
        return f"{self._root}/{name}" if name else str(self._root)

    def _is_known(self, name: str, info: dict[str, Any]) -> bool:
        state, here = _state(info), self._here(name)
        return self._index.get(name, [None])[0] == state and "size" in state and here.is_file()

    def _read_index(self) -> dict[str, list[Any]]:
        try:
            return dict(json.loads(self._index_file.read_text()))
        except (OSError, ValueError):
            return {}

    def _write_index(self) -> None:
        self._index_file.parent.mkdir(parents=True, exist_ok=True)
        write_whole(self._index_file, json.dumps(self._index).encode())


def _any(name: str) -> bool:
    """Every file is wanted."""
    return True


def _paths(listed: Mapping[str, dict[str, Any]], names: Iterable[str]) -> list[str]:
    """Where the files of these names are, for the file system that has listed them."""
    return [listed[name]["name"] for name in names]


def _state(info: dict[str, Any]) -> dict[str, str]:
    """What tells a file from what it was before."""
    return {name: str(info[name]) for name in STATE if info.get(name) is not None}


def _stamp(path: Path) -> list[int]:
    status = path.stat()
    return [status.st_size, status.st_mtime_ns]


def _stays_inside(name: str) -> bool:
    """Whether a name leads to a file in its folder: that of an object may be anything."""
    return (
        not name.endswith("/")
        and "\0" not in name
        and ".." not in Path(name).parts
        and not name.startswith("/")
    )
