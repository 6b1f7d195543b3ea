"""Recordings that users upload: taken in within bounds, and read in a process that may die."""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

from musiclm.web.children import Child, Failed

READ_SECONDS = 60.0


class TooLarge(Exception):
    """An upload has more bytes than it may."""


@dataclass(frozen=True)
class Recording:
    """A recording as a WAV file at the models' rate, mono.

    Args:
        id: by which it is asked for.
        file: of this service's own making.
        seconds: of it.
        notices: what was mended, or will be heard.
    """

    id: str
    file: Path
    seconds: float
    notices: tuple[str, ...]


class Recordings:
    """Those that are there, the oldest making room for new ones.

    Args:
        folder: for them; nothing else is in it.
        child: reads them.
        room: bytes that they may take.
    """

    def __init__(self, folder: Path, child: Child, *, room: int) -> None:
        self.folder, self.child, self.room = folder, child, room
        self.all: OrderedDict[str, Recording] = OrderedDict()
        self._one_at_a_time = asyncio.Lock()

    async def take(self, content: AsyncIterator[bytes], most: int) -> Recording:
        """An upload, read and kept.

        Raises:
            TooLarge: it has more than `most` bytes.
            ValueError: one line, why it cannot be used.
        """
        id = secrets.token_urlsafe(12)
        upload, file = self.folder / f"{id}.upload", self.folder / f"{id}.wav"
        try:
            size = 0
            with upload.open("wb") as place:
                async for piece in content:
                    size += len(piece)
                    if size > most:
                        raise TooLarge
                    place.write(piece)
            if not size:
                raise ValueError("expected a recording, got nothing")
            async with self._one_at_a_time:
                seconds, notices = await asyncio.to_thread(self._read, upload, file)
        except BaseException:
            file.unlink(missing_ok=True)
            raise
        finally:
            upload.unlink(missing_ok=True)
        self.all[id] = Recording(id, file, seconds, tuple(notices))
        while len(self.all) > 1 and sum(each.file.stat().st_size for each in self.all.values()) > self.room:
            _, oldest = self.all.popitem(last=False)
            oldest.file.unlink(missing_ok=True)
        return self.all[id]

    def close(self) -> None:
        """End all work."""
        self.child.stop()

    def _read(self, upload: Path, file: Path) -> tuple[float, list[str]]:
        seconds, notices = 0.0, []
        try:
            for kind, content in self.child.ask((upload, file), wanted=lambda: True, seconds=READ_SECONDS):
                if kind == "notice":
                    notices.append(content)
                else:
                    seconds = content
        except Failed as error:
            raise ValueError(str(error).replace(str(upload), "it")) from None
        return seconds, notices
