"""The HTTP interface: pieces are asked for, watched, heard while they are made, kept for a while.

Every error is JSON of one shape, `{"error": {"code", "message"}}`. No path comes from a request: what is
named is looked up among what this service has made or taken in.
"""

import asyncio
import hmac
import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from io import RawIOBase
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import torch
from fastapi import FastAPI, HTTPException, Request, Response
from fastapi import Path as InPath
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, PlainTextResponse, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException as StarletteError

from musiclm import __version__
from musiclm.audio import Audio, writing
from musiclm.audio.pcm import wav_header
from musiclm.web.jobs import ENDED, Full, Job, Jobs
from musiclm.web.recordings import Recordings, TooLarge
from musiclm.web.schema import Continuation, Id, Inpainting, Melody, Music, Piece, WithRecording

PAGE = Path(__file__).parent / "page"
AT_ONCE = 2**16  # bytes of sound that are sent at once
HEARTBEAT = 15.0  # seconds after which a silent stream of events says that it is there
CODES = {
    401: "unauthorized", 403: "forbidden", 404: "not_found", 409: "conflict", 413: "too_large", 429: "busy",
}  # fmt: skip
LOCAL = ("localhost", "127.0.0.1", "[::1]")
# A page from elsewhere cannot use this one, and this one loads nothing from elsewhere.
HEADERS = {
    "content-security-policy": "default-src 'self'; img-src 'self' data:; media-src 'self' blob:; "
    "frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
}


@dataclass(frozen=True)
class Limits:
    """What one may ask of the service.

    Args:
        seconds: of new music in a piece.
        upload_bytes: of a recording.
        token: that requests must carry, unless it is empty.
        local: whether only names of this machine are answered to, so that no page of a stranger's can reach
            the service under a name of its own.
    """

    seconds: float = 120.0
    upload_bytes: int = 50 * 2**20
    token: str = ""
    local: bool = True


def make_app(jobs: Jobs, recordings: Recordings, limits: Limits) -> FastAPI:
    """The application, whose end is the end of all work."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await asyncio.to_thread(jobs.close)
        await asyncio.to_thread(recordings.close)

    app = FastAPI(
        title="MusicLM", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        description=__doc__, openapi_url="/v1/openapi.json",
    )  # fmt: skip
    _add_errors(app)
    _add_guard(app, limits)
    _add_pieces(app, jobs, recordings, limits)
    _add_recordings(app, recordings, limits)
    _add_service(app, jobs, recordings, limits)
    return app


def _add_pieces(app: FastAPI, jobs: Jobs, recordings: Recordings, limits: Limits) -> None:
    def ask(piece: Piece, request_of: Callable[[int, Path | None], Any], title: str) -> JSONResponse:
        model = piece.model or next(iter(jobs.models))
        if model not in jobs.models:
            raise HTTPException(422, f"expected a model of {', '.join(jobs.models)}, got {model!r}")
        recording = _recording(piece.recording) if isinstance(piece, WithRecording) else None
        seed = secrets.randbelow(2**31) if piece.seed is None else piece.seed
        try:
            requests = [request_of(seed + take, recording) for take in range(piece.takes)]
        except (ValueError, OSError) as error:
            raise HTTPException(422, " ".join(str(error).split())) from None
        if requests[0].new_seconds > limits.seconds:
            raise HTTPException(
                422, f"expected at most {limits.seconds:g} s of new music, got {requests[0].new_seconds:g} s"
            )
        made = [Job(model, title, request, jobs.folder) for request in requests]
        jobs.add(made)
        return JSONResponse({"jobs": [_told(job, jobs) for job in made]}, 202)

    def _recording(id: str) -> Path:
        job = jobs.all.get(id)
        if job is not None and job.state == "done":
            return job.wav
        taken = recordings.all.get(id)
        if taken is None:
            raise HTTPException(404, "there is no such recording (any more): upload it again")
        return taken.file

    def job_of(id: str) -> Job:
        if id not in jobs.all:
            raise HTTPException(404, "there is no such piece (any more): ask for it again")
        return jobs.all[id]

    @app.post("/v1/music", status_code=202)
    def music(piece: Music) -> JSONResponse:
        """Music from words, or from a story."""
        title = piece.prompt or " / ".join(section.prompt for section in piece.story)
        return ask(piece, piece.request, title)

    @app.post("/v1/music/continue", status_code=202)
    def continuation(piece: Continuation) -> JSONResponse:
        """A recording, and music that goes on from it."""
        return ask(piece, piece.request, piece.prompt or "a continuation")

    @app.post("/v1/music/melody", status_code=202)
    def melody(piece: Melody) -> JSONResponse:
        """Music that follows a tune."""
        return ask(piece, piece.request, piece.prompt)

    @app.post("/v1/music/inpaint", status_code=202)
    def inpainting(piece: Inpainting) -> JSONResponse:
        """A recording, parts of which are made anew."""
        return ask(piece, piece.request, piece.prompt or "made anew")

    @app.get("/v1/jobs/{id}")
    def job(id: Annotated[Id, InPath()]) -> dict[str, Any]:
        """How far a piece is."""
        return _told(job_of(id), jobs)

    @app.delete("/v1/jobs/{id}", status_code=204)
    def cancel(id: Annotated[Id, InPath()]) -> Response:
        """Give a piece up, or forget it."""
        jobs.cancel(job_of(id))
        return Response(status_code=204)

    @app.get("/v1/jobs/{id}/events", response_class=StreamingResponse)
    async def events(id: Annotated[Id, InPath()]) -> StreamingResponse:
        """Server-sent events: the piece, whenever something of it has changed, until it has ended."""
        return StreamingResponse(_events(job_of(id), jobs), media_type="text/event-stream")

    @app.get("/v1/jobs/{id}/audio", response_class=Response)
    async def audio(id: Annotated[Id, InPath()]) -> Response:
        """The sound as WAV; of a piece that is being made, as it comes."""
        job = job_of(id)
        while not job.ended:
            version = job.version
            if job.length:
                with suppress(FileNotFoundError):  # it ends just now
                    file = job.pcm.open("rb", buffering=0)
                    return StreamingResponse(_sound(job, file), media_type="audio/wav")
            await job.changed_since(version)
        if job.state != "done":
            raise HTTPException(409, job.message or "the piece was given up")
        return FileResponse(job.wav, media_type="audio/wav")

    @app.get("/v1/jobs/{id}/file.{kind}", response_class=FileResponse)
    async def download(id: Annotated[Id, InPath()], kind: Literal["wav", "flac"]) -> Response:
        """The piece as a file that says from what it was made, as soon as it is finished."""
        job = job_of(id)
        while not job.ended:
            await job.changed_since(job.version)
        if job.state != "done":
            raise HTTPException(409, job.message or "the piece was given up")
        name = f"musiclm-{job.request.seed}.{kind}"
        if kind == "wav":
            return FileResponse(job.wav, media_type="audio/wav", filename=name)
        return Response(
            await asyncio.to_thread(as_flac, job),
            media_type="audio/flac",
            headers={"content-disposition": f'attachment; filename="{name}"'},
        )


def _add_recordings(app: FastAPI, recordings: Recordings, limits: Limits) -> None:
    @app.post(
        "/v1/recordings",
        status_code=201,
        openapi_extra={"requestBody": {"content": {"application/octet-stream": {}}, "required": True}},
    )
    async def upload(request: Request) -> JSONResponse:
        """Take a recording in, whose bytes are the body: to follow, to go on from, to mend."""
        try:
            taken = await recordings.take(request.stream(), limits.upload_bytes)
        except TooLarge:
            raise HTTPException(
                413, f"expected at most {limits.upload_bytes / 2**20:g} MiB, got more: cut it first"
            ) from None
        except ValueError as error:
            raise HTTPException(422, str(error)) from None
        return JSONResponse(
            {"recording": taken.id, "seconds": taken.seconds, "notices": list(taken.notices)}, 201
        )


def _add_service(app: FastAPI, jobs: Jobs, recordings: Recordings, limits: Limits) -> None:
    @app.get("/v1/models")
    def models() -> dict[str, Any]:
        """Which models there are, and what one may ask."""
        return {
            "models": [{"name": name} for name in jobs.models],
            "limits": {
                "seconds": limits.seconds, "upload_bytes": limits.upload_bytes, "waiting": jobs.most_waiting,
            },
        }  # fmt: skip

    @app.get("/health")
    def health() -> dict[str, Any]:
        """Whether the service answers."""
        return {"status": "ok", "waiting": jobs.waiting}

    @app.get("/metrics", response_class=PlainTextResponse)
    def metrics() -> str:
        """Figures for Prometheus."""
        ended = [f'musiclm_pieces_total{{state="{state}"}} {count}' for state, count in jobs.counts.items()]
        return "\n".join(
            [
                *ended,
                f"musiclm_pieces_waiting {jobs.waiting}",
                f"musiclm_music_seconds_total {jobs.seconds_made:.3f}",
                f"musiclm_work_seconds_total {jobs.seconds_at_work:.3f}",
                f"musiclm_process_deaths_total {sum(child.deaths for child in jobs.models.values())}",
                f"musiclm_reader_deaths_total {recordings.child.deaths}",
                "",
            ]
        )

    @app.get("/", response_class=HTMLResponse)
    def page() -> FileResponse:
        """The page."""
        return FileResponse(PAGE / "index.html")

    app.mount("/page", StaticFiles(directory=PAGE), name="page")


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(StarletteError)
    async def known(request: Request, raised: StarletteError) -> JSONResponse:
        return _error(raised.status_code, str(raised.detail))

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, raised: RequestValidationError) -> JSONResponse:
        first = raised.errors()[0]
        place = ".".join(str(part) for part in first["loc"] if part != "body")
        return _error(422, f"{place}: {first['msg']}" if place else first["msg"])

    @app.exception_handler(Full)
    async def full(request: Request, raised: Full) -> JSONResponse:
        return _error(429, str(raised), **{"retry-after": f"{raised.seconds:.0f}"})

    @app.exception_handler(Exception)
    async def unknown(request: Request, raised: Exception) -> JSONResponse:
        return _error(500, "something went wrong here, and was written into the service's log")


def _add_guard(app: FastAPI, limits: Limits) -> None:
    @app.middleware("http")
    async def guard(request: Request, go_on: Callable[[Request], Awaitable[Response]]) -> Response:
        """Answer nobody who should not ask; say what a browser may do with the answer."""
        refusal = _refusal(request, limits)
        response = refusal or await go_on(request)
        response.headers.update(HEADERS)
        return response


def _refusal(request: Request, limits: Limits) -> JSONResponse | None:
    host = request.headers.get("host", "")
    if limits.local and host.rpartition(":")[0] not in LOCAL and host not in LOCAL:
        return _error(400, "expected to be asked as localhost")
    origin = request.headers.get("origin")
    if origin and urlsplit(origin).netloc != host:
        return _error(403, "expected to be asked by its own page")
    open_to_all = request.url.path in ("/", "/health") or request.url.path.startswith("/page/")
    if limits.token and not open_to_all:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        given = given or request.query_params.get("token", "")
        if not hmac.compare_digest(given.encode(), limits.token.encode()):
            return _error(401, "expected the token that the service was started with")
    return None


def _error(status: int, message: str, **headers: str) -> JSONResponse:
    """The one shape that errors have; the message is a line, though a field's name may hold anything."""
    code = CODES.get(status, "invalid" if status < 500 else "internal")
    content = {"error": {"code": code, "message": " ".join(message.split())}}
    return JSONResponse(content, status, headers=headers)


def _told(job: Job, jobs: Jobs) -> dict[str, Any]:
    """A piece, for people and programs."""
    return {
        "id": job.id,
        "model": job.model,
        "title": job.title,
        "seed": job.request.seed,
        "state": job.state,
        "position": jobs.position(job) if job.state == "waiting" else 0,
        "stage": job.stage,
        "share": job.share,
        "seconds": job.length / job.sample_rate if job.sample_rate else None,
        "heard": job.written / 2 / job.sample_rate if job.sample_rate else 0.0,
        "first_sound_after": job.heard_after,
        "notices": job.notices,
        "message": job.message,
    }


async def _events(job: Job, jobs: Jobs) -> AsyncIterator[str]:
    while True:
        version, told = job.version, _told(job, jobs)
        yield f"data: {json.dumps(told)}\n\n"
        if told["state"] in ENDED:
            return
        while job.version == version:
            try:
                await asyncio.wait_for(job.changed_since(version), HEARTBEAT)
            except TimeoutError:
                yield ": still there\n\n"


async def _sound(job: Job, file: RawIOBase) -> AsyncIterator[bytes]:
    """A WAV file as it grows. Where the piece ends too soon, so does the file, whose header says more."""
    with file:
        yield wav_header(job.sample_rate, job.length)
        while True:
            version = job.version
            if piece := file.read(AT_ONCE):
                yield piece
            elif job.ended:
                return
            else:
                await job.changed_since(version)


def as_flac(job: Job) -> bytes:
    """A finished piece as FLAC, with what its WAV file says of it."""
    import soundfile

    file = job.folder / f"{job.id}-{secrets.token_hex(4)}.flac"
    with soundfile.SoundFile(str(job.wav)) as known:
        said = {"title": known.title, "comment": known.comment, "software": "musiclm"}
    audio = Audio.load(job.wav)
    try:
        with writing(file, audio.sample_rate, said) as write:
            write(torch.as_tensor(audio.waveform))
        return file.read_bytes()
    finally:
        file.unlink(missing_ok=True)
