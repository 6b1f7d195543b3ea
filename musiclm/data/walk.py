"""Which files may hold a recording: what a folder of music has in it besides music.

A file's content decides, not its ending: an ending only says what is not worth opening (`cover.jpg`), and
whether to name a file that turns out not to be audio (`song.mp3`, but not `thumbs.db`). Each file is taken
once, however many links lead to it, and nothing but regular files is ever opened: a pipe would never end.
"""

import os
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from musiclm.data.left_out import LeftOut, reason_of
from musiclm.files import shown

# fmt: off
AUDIO = {  # named where they cannot be read
    ".wav", ".wave", ".bwf", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".spx", ".mp3", ".mp2",
    ".mp1", ".mpga", ".aiff", ".aif", ".aifc", ".caf", ".au", ".snd", ".voc", ".m4a", ".m4b", ".aac",
    ".alac", ".wma", ".ape", ".wv", ".tta", ".tak", ".mka", ".mpc", ".ac3", ".eac3", ".dts", ".amr",
    ".ra", ".dsf", ".dff",
}
OTHER = {  # lie beside music, and are not opened
    ".txt", ".md", ".rtf", ".nfo", ".log", ".cue", ".m3u", ".m3u8", ".pls", ".lrc", ".srt", ".md5",
    ".sfv", ".doc", ".docx", ".xls", ".xlsx", ".odt", ".pdf", ".html", ".htm", ".xml", ".json", ".yaml",
    ".yml", ".toml", ".ini", ".cfg", ".csv", ".tsv", ".jpg", ".jpeg", ".png", ".gif", ".bmp", ".tif",
    ".tiff", ".webp", ".svg", ".ico", ".heic", ".psd", ".zip", ".gz", ".bz2", ".xz", ".7z", ".rar",
    ".tar", ".iso", ".parquet", ".arrow", ".npy", ".npz", ".pt", ".pth", ".ckpt", ".safetensors", ".pkl",
    ".db", ".mid", ".midi", ".sf2", ".py", ".ipynb", ".sh", ".exe", ".dll", ".lnk", ".url", ".torrent",
    ".part", ".crdownload", ".tmp",
}
# fmt: on
SAYING = {".txt", ".json", ".jsonl", ".csv", ".tsv", ".m3u", ".m3u8", ".parquet", ".arrow", ".gz"}
NOT_OURS = {"__MACOSX", "@eaDir"}  # macOS's and Synology's folders of attributes and thumbnails


def is_worth_fetching(name: str) -> bool:
    """Whether a file may hold a recording, or say something of one: captions, a table, a list."""
    ending = Path(name).suffix.lower()
    return ending in SAYING or ending not in OTHER


@dataclass(frozen=True)
class Found:
    """A file that may hold a recording, and the argument it was found by."""

    path: Path
    place: Path
    key: tuple[int, int]  # device and inode: the same for every name of a file


def find_files(places: Iterable[Path]) -> tuple[list[Found], list[LeftOut]]:
    """The files in folders and of single paths that may hold recordings, and those that cannot.

    Raises:
        FileNotFoundError: a place does not exist.
    """
    walk = _Walk()
    for place in places:
        if not os.path.lexists(place):
            raise FileNotFoundError(
                f"expected audio files or a folder of them, found nothing at {shown(place)}"
            )
        walk.add(place)
    return walk.finish()


class _Walk:
    """Folders are gone through without recursion: nested ones may be deeper than Python's stack."""

    def __init__(self) -> None:
        self.left_out: list[LeftOut] = []
        self._files: list[Found] = []
        self._links: list[Found] = []  # only after all files: where both are there, the file counts
        self._linked_folders: list[tuple[Path, Path]] = []
        self._named_as_audio: list[Path] = []  # folders
        self._seen: set[tuple[int, int]] = set()  # folders, by device and inode

    def add(self, place: Path) -> None:
        """Go through a folder, or look at a single file."""
        if os.path.isdir(place):  # unlike Path.is_dir, never raises
            self._go_through(place, place)
        else:
            self._look(place, place, hidden=False)

    def finish(self) -> tuple[list[Found], list[LeftOut]]:
        """All files, each once."""
        while self._linked_folders:
            self._go_through(*self._linked_folders.pop(0))
        first: dict[tuple[int, int], Found] = {}
        files = []
        for found in [*sorted(self._files, key=_path), *sorted(self._links, key=_path)]:
            same = first.setdefault(found.key, found)
            if same is found:
                files.append(found)
            elif same.path != found.path:  # else an argument was given twice
                self.left_out.append(LeftOut(found.path, f"the same file as {shown(same.path)}"))
        holding = {parent for found in files for parent in found.path.parents}
        for folder in self._named_as_audio:
            if folder not in holding:
                self.left_out.append(LeftOut(folder, "a folder, with no recording in it"))
        return files, self.left_out

    def _go_through(self, folder: Path, place: Path) -> None:
        folders = [(folder, False)]
        while folders:
            here, hidden = folders.pop()
            try:
                status = here.stat()
                if (status.st_dev, status.st_ino) in self._seen:
                    continue
                self._seen.add((status.st_dev, status.st_ino))
                entries = sorted(os.scandir(here), key=lambda entry: entry.name)
            except OSError as error:
                self.left_out.append(LeftOut(here, reason_of(error)))
                continue
            for entry in entries:
                path = here / entry.name
                covered = hidden or entry.name.startswith(".") or entry.name in NOT_OURS
                if not _is_folder(entry):
                    self._look(path, place, hidden=covered)
                elif entry.is_symlink():
                    self._linked_folders += [] if covered else [(path, place)]
                else:
                    self._named_as_audio += [path] if not covered and path.suffix.lower() in AUDIO else []
                    folders.append((path, covered))

    def _look(self, path: Path, place: Path, *, hidden: bool) -> None:
        """Take a file, or name it if its ending says that somebody may miss it."""
        ending = path.suffix.lower()
        if ending in OTHER:
            return
        try:
            status = _status_of_file(path)
            if hidden:
                raise ValueError("hidden, no recording of the user's")
            if ending not in AUDIO and not _begins_like_audio(path):
                return
        except (OSError, ValueError) as error:
            if ending in AUDIO or path == place:
                self.left_out.append(LeftOut(path, reason_of(error)))
            return
        files = self._links if path.is_symlink() else self._files
        files.append(Found(path, place, (status.st_dev, status.st_ino)))


def _path(found: Found) -> Path:
    return found.path


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a loop of links
        return False


def _status_of_file(path: Path) -> os.stat_result:
    """The status of a regular file, or of the one that a link leads to.

    Raises:
        OSError, ValueError: there is none, it cannot be reached, or it is something else.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        raise ValueError(f"a link to {shown(Path(os.readlink(path)))}, where there is nothing") from None
    if not stat.S_ISREG(status.st_mode):
        kind = "pipe" if stat.S_ISFIFO(status.st_mode) else "device or socket"
        raise ValueError(f"a {kind}, not a file")
    return status


def _begins_like_audio(path: Path) -> bool:
    """Whether a file begins as the usual formats of audio do."""
    with path.open("rb") as file:
        head = file.read(16)
    kind, form = head[:4], head[8:12]
    return (
        (kind in (b"RIFF", b"RF64", b"BW64", b"RIFX") and form == b"WAVE")
        or (kind == b"FORM" and form in (b"AIFF", b"AIFC", b"8SVX"))
        or kind in (b"fLaC", b"OggS", b"caff", b"riff", b".snd", b"MAC ", b"wvpk", b"TTA1", b"MPCK")
        or head[:3] == b"ID3"
        or head[4:8] == b"ftyp"  # MPEG-4
        or kind in (b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75")  # Matroska and WebM; ASF, which wma is
        or _begins_with_a_frame(head)
    )


def _begins_with_a_frame(head: bytes) -> bool:
    """Whether a file begins with a frame of MPEG layer II or III, or of AAC."""
    if len(head) < 2 or head[0] != 0xFF or head[1] < 0xE0:  # 11 bits of ones, then 2 of version
        return False
    layer = head[1] >> 1 & 0b11
    return layer in (0b01, 0b10) or (layer == 0 and head[1] >= 0xF0)
