"""Files and folders that stay whole: writing by rename, one writer a folder at a time; names as text."""

import errno
import fcntl
import functools
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import gethostname
from typing import ParamSpec, TypeVar

LOCK = ".lock"
TEMPORARY = ".{stem}.{process}.tmp{suffix}"  # a file's name while it is written
A_URL = re.compile(r"([a-z][a-z0-9+.-]+):/{1,2}(?=[^/])")
NO_LOCKS = (
    errno.ENOSYS,
    errno.ENOLCK,
    errno.EOPNOTSUPP,
)  # of a file system without them: some Lustre, some NFS

_unfinished: set[Path] = set()  # temporary files of this process

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to, renamed to `path` when the `with` block ends well.

    So a file that exists is whole: a process that is killed while it writes leaves what was there before.
    The temporary path has the suffix of `path`, since some writers choose their format by it.
    """
    with temporary_beside(path) as temporary:
        yield temporary
        temporary.replace(path)


@contextmanager
def temporary_beside(path: Path) -> Iterator[Path]:
    """The path that `replacing` writes to, for what only tries whether it can: no file of it stays."""
    temporary = path.with_name(TEMPORARY.format(stem=path.stem, process=os.getpid(), suffix=path.suffix))
    _unfinished.add(temporary)
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
        _unfinished.discard(temporary)


def remove_unfinished() -> None:
    """Remove what this process has not finished writing: a signal may have come just as that was done."""
    for temporary in tuple(_unfinished):
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path, name: str = "*.*") -> None:
    """Remove what `replacing` has left where its process was killed; only for the folder's only writer.

    Args:
        folder: the files' own.
        name: of the files that were to be written, a pattern such as *.flac.
    """
    pattern = TEMPORARY.format(stem=Path(name).stem, process="*", suffix=Path(name).suffix)
    for leftover in folder.glob(pattern):
        leftover.unlink(missing_ok=True)


def url_of(place: str | Path) -> str | None:
    """The URL that a place is, of whose slashes a `Path` keeps one; None of a file or a folder."""
    found = A_URL.match(str(place))
    if found is None or found[1] == "file" or os.path.lexists(place):
        return None
    return f"{found[1]}://{str(place)[found.end() :]}"


def cache_folder(*names: str) -> Path:
    """A folder for what can be made or fetched again: in `MUSICLM_CACHE`, else in the user's cache."""
    own = os.environ.get("MUSICLM_CACHE")
    users = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(own or Path(users) / "musiclm", *names)


def write_whole(file: Path, content: bytes) -> None:
    """Write `content` to `file`, whole or not at all."""
    with replacing(file) as temporary:
        temporary.write_bytes(content)


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold `folder` (made if it is absent) against other processes that would write there.

    The system releases the lock of a process that dies, however it dies.

    Raises:
        BlockingIOError: another process holds it; the message names that process.
        FileExistsError: `folder` is a file.
        ValueError: it is a URL.
    """
    if (url := url_of(folder)) is not None:
        raise ValueError(f"expected a folder of this machine to write to, got {url}")
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"expected a folder to write to, {folder} is a file: name another")
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / LOCK):
        yield


@contextmanager
def not_left_empty(folder: Path) -> Iterator[None]:
    """Remove a folder that was not there before the `with` block, and is empty after it."""
    existed = folder.exists()
    try:
        yield
    finally:
        if not existed:
            with suppress(OSError):  # it is not empty
                folder.rmdir()


def only_writer_to(name: str) -> Callable[[Callable[Arguments, Result]], Callable[Arguments, Result]]:
    """A decorator: the command is the only writer of the folder that its argument `name` is, if it is one.

    A folder that the command leaves empty, having found a mistake, is not left behind.
    """

    def decorate(command: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
        @functools.wraps(command)
        def held(*args: Arguments.args, **kwargs: Arguments.kwargs) -> Result:
            given = inspect.signature(command).bind(*args, **kwargs)
            given.apply_defaults()
            if given.arguments[name] is None:
                return command(*args, **kwargs)
            folder = Path(given.arguments[name])
            with not_left_empty(folder), only_writer(folder):
                return command(*args, **kwargs)

        return held

    return decorate


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    while True:
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(descriptor, 1000).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise BlockingIOError(
                f"expected to write to {file.parent} alone, {holder} is at it: wait for it, or name another "
                "folder"
            ) from None
        except OSError as error:
            if error.errno not in NO_LOCKS:
                os.close(descriptor)
                raise
            print(
                f"{file.parent}: this file system has no locks, so other writers are not seen",
                file=sys.stderr,
            )
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(file)):
                break
        os.close(descriptor)  # the one before has removed the file that we have locked: again
    try:
        command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:300]
        with suppress(OSError):  # a full disk has no room for the name, and locks all the same
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"process {os.getpid()} on {gethostname()} ({command})".encode(), 0)
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def shown(path: str | Path) -> str:
    """A path on one line, for a terminal or a table. A name may hold any byte but 0 and /: those that would
    not print there are escaped."""
    return printable(os.fspath(url_of(path) or path).replace("\\", "\\\\"))


def printable(text: str) -> str:
    """The text with control characters, and bytes that are not UTF-8, as escapes."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
