"""`musiclm serve`: the page and its HTTP interface, on this machine."""

import secrets
import socket
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import uvicorn

from musiclm.bundle import Bundle
from musiclm.files import only_writer
from musiclm.generation.request import check_seconds
from musiclm.machine.device import Device, choose_device
from musiclm.web.app import Limits, make_app
from musiclm.web.children import Child, Failed
from musiclm.web.jobs import Jobs
from musiclm.web.recordings import Recordings
from musiclm.web.works import MakesMusic, ReadsRecordings

LOCAL_HOSTS = ("127.0.0.1", "localhost", "::1")
READERS_RATE = 24_000  # Hz of the recordings that are kept, as of all that the models make
MIB = 2**20


def serve(
    *,
    bundle: Sequence[str] = (),
    host: str = "127.0.0.1",
    port: int = 8000,
    token: str = "",
    seconds: float = 120.0,
    waiting: int = 64,
    upload: int = 50,
    room: int = 1024,
    folder: Path | None = None,
    device: Device = "auto",
) -> None:
    """Serve a page on which music is made, and an HTTP interface for programs, until Ctrl-C.

    Args:
        bundle: models to choose from, each in a process of its own: shipped bundles' names, folders, or
            Hugging Face ids; without it, the default model.
        host: the address to answer at; any other than this machine's own lets others in, who need the token.
        port: of it; 0 takes a free one.
        token: what requests must carry; where others are let in and none is given, one is drawn and printed.
        seconds: of new music in a piece, at most 600.
        waiting: pieces that may wait in line; who asks for more is told when to ask again.
        upload: MiB of a recording at most.
        room: MiB that finished pieces and recordings may take, each; the oldest make room.
        folder: for them; without it, one that is removed at the end.
        device: cpu, cuda, cuda:1 or mps; auto takes the first GPU, or else the CPU.
    """
    check_seconds(seconds)
    if not 0 <= port < 2**16:
        raise ValueError(f"expected a port of 0 to 65535, got {port}")
    for name, number in (("waiting", waiting), ("upload", upload), ("room", room)):
        if number < 1:
            raise ValueError(f"expected --{name} of 1 or more, got {number}")
    choose_device(device)
    bundles = bundle or ("default",)
    for name in bundles:
        Bundle.find(name).check()
    if host not in LOCAL_HOSTS and not token:
        token = secrets.token_urlsafe(16)
    with _listening(host, port) as door, tempfile.TemporaryDirectory(prefix="musiclm-serve-") as temporary:
        place = folder or Path(temporary)
        limits = Limits(seconds, upload * MIB, token, host in LOCAL_HOSTS)
        with only_writer(place):
            _serve(door, place, bundles, device, limits, waiting=waiting, room=room * MIB)


def _serve(
    door: socket.socket,
    folder: Path,
    bundles: Sequence[str],
    device: Device,
    limits: Limits,
    *,
    waiting: int,
    room: int,
) -> None:
    children = {name: Child(MakesMusic, name, device) for name in bundles}
    reader = Child(ReadsRecordings, READERS_RATE)
    try:
        for child in (*children.values(), reader):
            child.start()
    except Failed as error:
        raise ValueError(str(error)) from None
    places = [folder / name for name in ("pieces", "recordings")]
    for place in places:
        place.mkdir(exist_ok=True)
    jobs = Jobs(places[0], children, most_waiting=waiting, room=room)
    app = make_app(jobs, Recordings(places[1], reader, room=room), limits)
    host, port = door.getsockname()[:2]
    name = f"[{host}]" if ":" in host else host
    print(f"http://{name}:{port}/{f'#token={limits.token}' if limits.token else ''}", flush=True)
    print("Ctrl-C ends it", file=sys.stderr, flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=3)
    uvicorn.Server(config).run(sockets=[door])


def _listening(host: str, port: int) -> socket.socket:
    """A socket at the address.

    Raises:
        ValueError: it is taken, or none of this machine's.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise ValueError(
            f"expected a free address, {host}:{port} cannot be used ({error.strerror or error}): choose "
            "another --port or --host"
        ) from None
