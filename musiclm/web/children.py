"""Work in a process that may die: a poisoned file or a full memory ends the process, and not the service."""

import contextlib
import multiprocessing
import signal
import time
from collections.abc import Callable, Generator
from multiprocessing.connection import Connection
from typing import Any, Protocol

READY_SECONDS = 300.0  # until a child has loaded what it works with


class Stopped(Exception):
    """The parent no longer wants what is being made."""


class Failed(Exception):
    """One line: why there is no result."""


class Died(Failed):
    """The child has ended in the middle of its work."""


class Work(Protocol):
    """What a child does again and again."""

    def __call__(self, asked: Any, tell: Callable[[Any], None]) -> None:
        """Do what is asked, and tell of it on the way.

        Raises:
            ValueError, OSError: one line, for what cannot be done.
        """


class Child:
    """A process that does one thing at a time, started when it is first needed, and anew when it has died.

    Args:
        make: makes the `Work`, in the child; a class or function of a module.
        arguments: of it.
    """

    def __init__(self, make: Callable[..., Work], *arguments: Any) -> None:
        self.make, self.arguments = make, arguments
        self.deaths = 0
        self.process: Any = None
        self.connection: Connection | None = None

    def start(self) -> None:
        """See that the process is there and ready.

        Raises:
            Failed: it cannot be.
        """
        if self.process is not None and self.process.is_alive():
            return
        self.stop()
        context = multiprocessing.get_context("spawn")
        self.connection, other = context.Pipe()
        self.process = context.Process(target=_live, args=(other, self.make, self.arguments), daemon=True)
        self.process.start()
        other.close()
        if not self.connection.poll(READY_SECONDS):
            self.stop()
            raise Failed("the model could not be loaded in time")
        kind, words = self._receive()
        if kind == "failed":
            self.stop()
            raise Failed(words)

    def ask(self, asked: Any, *, wanted: Callable[[], bool], seconds: float) -> Generator[Any, None, None]:
        """What the child tells, as it comes.

        Args:
            asked: what is to be done.
            wanted: asked again and again; once it is false, the work is given up.
            seconds: that the work may take.

        Raises:
            Failed, Died, Stopped: there is no result.
        """
        self.start()
        assert self.connection is not None
        self.connection.send(asked)
        until, kind = time.monotonic() + seconds, "told"
        try:
            while True:
                if time.monotonic() > until:
                    raise Failed(f"it took longer than the {seconds:g} s that it may")
                if not wanted():
                    raise Stopped
                if not self.connection.poll(0.05):
                    continue
                kind, content = self._receive()
                if kind == "failed":
                    raise Failed(content)
                if kind == "done":
                    return
                yield content
        finally:
            if kind == "told" and self.connection is not None:  # or the next one would be told of this work
                self._give_up()

    def stop(self) -> None:
        """End the process, whatever it is doing."""
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None
        if self.connection is not None:
            self.connection.close()
            self.connection = None

    def _give_up(self) -> None:
        """Let the child end what it does at the next word; one that says none is killed."""
        assert self.connection is not None
        try:
            self.connection.send(None)
            while self.connection.poll(5.0):
                if self._receive()[0] != "told":
                    return
        except (OSError, Died):
            pass
        self.stop()

    def _receive(self) -> tuple[str, Any]:
        assert self.connection is not None
        try:
            message: tuple[str, Any] = self.connection.recv()
        except (EOFError, OSError):
            self.deaths += 1
            self.stop()
            raise Died("the process that works on it has died; ask for something shorter, or again") from None
        return message


def _live(connection: Connection, make: Callable[..., Work], arguments: tuple[Any, ...]) -> None:
    """The child's life, which ends where the parent's does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends it
    with contextlib.suppress(BrokenPipeError, ConnectionResetError, EOFError):
        _work(connection, make, arguments)


def _work(connection: Connection, make: Callable[..., Work], arguments: tuple[Any, ...]) -> None:
    try:
        work = make(*arguments)
    except (ValueError, OSError) as error:
        connection.send(("failed", " ".join(str(error).split())))
        return
    connection.send(("ready", None))

    def tell(content: Any) -> None:
        if connection.poll():
            connection.recv()
            raise Stopped
        connection.send(("told", content))

    while True:
        asked = connection.recv()
        if asked is None:  # given up when it was already done
            continue
        try:
            work(asked, tell)
        except Stopped:
            connection.send(("stopped", None))
        except (ValueError, OSError) as error:
            connection.send(("failed", " ".join(str(error).split())))
        else:
            connection.send(("done", None))
