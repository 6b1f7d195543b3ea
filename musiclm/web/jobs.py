"""Pieces on their way: they wait in line for the model, are made one at a time, and are kept for a while."""

import asyncio
import contextlib
import secrets
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from musiclm.audio import writing
from musiclm.generation.request import Request
from musiclm.web.children import Child, Failed, Stopped

State = Literal["waiting", "making", "done", "failed", "cancelled"]
ENDED = ("done", "failed", "cancelled")
# Seconds that a piece may take: some, and so many for each second of music; by far more than it does.
LEAST_LIMIT, LIMIT_A_SECOND = 60.0, 10.0


class Full(Exception):
    """No more pieces can wait: how many do, and in how many seconds there will probably be room."""

    def __init__(self, waiting: int, seconds: float) -> None:
        super().__init__(f"{waiting} pieces are waiting already: ask again in {seconds:.0f} s")
        self.waiting, self.seconds = waiting, seconds


@dataclass(eq=False)
class Job:
    """A piece that somebody has asked for.

    Args:
        model: that makes it.
        title: for people.
        request: of it.
        file: where its sound comes to lie: `.pcm` while it is made, then `.wav`.
    """

    model: str
    title: str
    request: Request
    folder: Path
    id: str = field(default_factory=lambda: secrets.token_urlsafe(12))
    state: State = "waiting"
    message: str = ""
    notices: list[str] = field(default_factory=list)
    stage: str = ""
    share: float = 0.0  # of the stage that is done
    sample_rate: int = 0
    length: int = 0  # samples in all, as soon as it begins
    written: int = 0  # bytes of sound that can be heard
    asked_at: float = field(default_factory=time.monotonic)
    heard_after: float | None = None  # seconds until the first sound
    version: int = 0  # grows with each change
    _waiting: list[tuple[asyncio.AbstractEventLoop, asyncio.Future[None]]] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def pcm(self) -> Path:
        return self.folder / f"{self.id}.pcm"

    @property
    def wav(self) -> Path:
        return self.folder / f"{self.id}.wav"

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    def change(self, **values: Any) -> None:
        """Set values, and wake who waits for a change."""
        with self._lock:
            for name, value in values.items():
                setattr(self, name, value)
            self.version += 1
            waiting, self._waiting = self._waiting, []
        for loop, future in waiting:
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(_wake, future)

    async def changed_since(self, version: int) -> None:
        """Return once there is a later version."""
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        with self._lock:
            if self.version != version:
                return
            self._waiting.append((loop, future))
        await future


def _wake(future: "asyncio.Future[None]") -> None:
    if not future.done():
        future.set_result(None)


class Jobs:
    """All pieces of a service, and the threads that have them made.

    Args:
        folder: for their sound; nothing else is in it.
        models: by name, the process that makes music with it.
        most_waiting: pieces, over all models.
        room: bytes that finished pieces may take; the oldest make room for new ones.
    """

    def __init__(self, folder: Path, models: Mapping[str, Child], *, most_waiting: int, room: int) -> None:
        self.folder, self.models = folder, models
        self.most_waiting, self.room = most_waiting, room
        self.all: dict[str, Job] = {}
        self.counts: dict[str, int] = dict.fromkeys(ENDED, 0)
        self.seconds_made = self.seconds_at_work = 0.0
        self._line: list[Job] = []
        self._change = threading.Condition()
        self._open = True
        self._threads = [threading.Thread(target=self._serve, args=(name,), daemon=True) for name in models]
        for thread in self._threads:
            thread.start()

    def add(self, jobs: Sequence[Job]) -> None:
        """Let jobs wait in line, all of them or none.

        Raises:
            Full: there is no room for them.
        """
        with self._change:
            if len(self._line) + len(jobs) > self.most_waiting:
                raise Full(len(self._line), self.estimate(len(self._line)))
            for job in jobs:
                self.all[job.id] = job
                self._line.append(job)
            self._change.notify_all()

    def position(self, job: Job) -> int:
        """How many pieces are made before it; 0 is next, or at work."""
        with self._change:
            line = [other for other in self._line if other.model == job.model]
        return line.index(job) if job in line else 0

    @property
    def waiting(self) -> int:
        """Pieces in line."""
        return len(self._line)

    def estimate(self, pieces: int) -> float:
        """Seconds until so many pieces are made, by those before."""
        made = self.counts["done"]
        return max(1.0, pieces * (self.seconds_at_work / made if made else 5.0))

    def cancel(self, job: Job) -> None:
        """Let nobody make it any more; what is finished is forgotten."""
        with self._change:
            if job in self._line:
                self._line.remove(job)
                self._end(job, "cancelled")
            elif job.state == "making":
                job.change(state="cancelled")  # which the thread looks at
            elif job.state == "done":
                self._forget(job)

    def close(self) -> None:
        """End all work."""
        with self._change:
            self._open = False
            self._line.clear()
            self._change.notify_all()
        for child in self.models.values():
            child.stop()
        for thread in self._threads:
            thread.join(timeout=5.0)

    def _serve(self, model: str) -> None:
        """A thread's life: the next piece of a model, again and again."""
        child = self.models[model]
        while True:
            with self._change:
                while self._open and not any(job.model == model for job in self._line):
                    self._change.wait()
                if not self._open:
                    return
                job = next(job for job in self._line if job.model == model)
                self._line.remove(job)
                job.change(state="making")
            began = time.monotonic()
            try:
                self._make(job, child)
                state: State = "done"
                self.seconds_at_work += time.monotonic() - began
                self.seconds_made += job.length / job.sample_rate
            except Stopped:
                state = "cancelled"
            except Failed as error:
                state, job.message = "failed", str(error)
            except OSError as error:
                state, job.message = "failed", f"its sound could not be kept: {error.strerror or error}"
            with self._change:
                self._end(job, state)

    def _make(self, job: Job, child: Child) -> None:
        limit = LEAST_LIMIT + LIMIT_A_SECOND * job.request.new_seconds
        fingerprint = ""
        telling = child.ask(job.request, wanted=lambda: job.state == "making", seconds=limit)
        with job.pcm.open("wb", buffering=0) as file, contextlib.closing(telling):
            for kind, *content in telling:
                if kind == "sound":
                    file.write(content[0])
                    heard = job.heard_after or time.monotonic() - job.asked_at
                    job.change(written=job.written + len(content[0]), heard_after=heard)
                elif kind == "progress":
                    stage, done, total = content
                    job.change(stage=stage, share=done / max(total, 1))
                elif kind == "notice":
                    job.change(notices=[*job.notices, content[0]])
                else:
                    rate, length, fingerprint = content
                    job.change(sample_rate=rate, length=length)
        words = f"seed {job.request.seed}, bundle {fingerprint}"
        samples = np.fromfile(job.pcm, "<i2").astype(np.float32) / 2**15
        said = {"title": job.title, "comment": words, "software": "musiclm"}
        with writing(job.wav, job.sample_rate, said) as write:
            write(torch.from_numpy(samples)[None])

    def _end(self, job: Job, state: State) -> None:
        """A job is over; who reads its sound still holds the file open."""
        if state != "done":
            job.wav.unlink(missing_ok=True)
        self.counts[state] += 1
        job.change(state=state)
        job.pcm.unlink(missing_ok=True)
        ended = [each for each in self.all.values() if each.ended]
        while len(ended) > 1 and sum(_size(each) for each in ended) > self.room:
            self._forget(ended.pop(0))

    def _forget(self, job: Job) -> None:
        job.wav.unlink(missing_ok=True)
        self.all.pop(job.id, None)


def _size(job: Job) -> int:
    """Bytes that a finished piece takes, a little more than its sound."""
    return 2 * job.length + 4096 if job.state == "done" else 4096
