"""Files and folders that stay whole: writing by rename, one writer a folder at a time; names as text."""

import fcntl
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from socket import gethostname

LOCK = ".lock"


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path` to write to, renamed to `path` when the `with` block ends well.

    So a file that exists is whole: a process that is killed while it writes leaves what was there before.
    The temporary path has the suffix of `path`, since some writers choose their format by it.
    """
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.tmp{path.suffix}")
    try:
        yield temporary
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


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
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"expected a folder to write to, {folder} is a file: name another")
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / LOCK):
        yield


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
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(descriptor), os.stat(file)):
                break
        os.close(descriptor)  # the one before has removed the file that we have locked: again
    try:
        command = " ".join([Path(sys.argv[0]).name, *sys.argv[1:]])[:300]
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {gethostname()} ({command})".encode(), 0)
        yield
    finally:
        file.unlink(missing_ok=True)
        os.close(descriptor)


def shown(path: str | Path) -> str:
    """A path on one line, for a terminal or a table. A name may hold any byte but 0 and /: those that would
    not print there are escaped."""
    return printable(os.fspath(path).replace("\\", "\\\\"))


def printable(text: str) -> str:
    """The text with control characters, and bytes that are not UTF-8, as escapes."""
    text = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)
