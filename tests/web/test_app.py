"""The HTTP interface: pieces wait, are made, heard while they come, kept for a while; whatever is asked."""

import json
import multiprocessing
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("fastapi")
from fastapi.testclient import TestClient

from musiclm.generation.request import Request
from musiclm.web.app import Limits, make_app
from musiclm.web.children import Child, Failed
from musiclm.web.jobs import Jobs
from musiclm.web.recordings import Recordings
from tests.web.works import BLOCK, Reads, Slow, none

pytestmark = pytest.mark.usefixtures("warm_workers")
WAITING = 3


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, warm: Path) -> Iterator[TestClient]:
    """A service whose model takes its time."""
    multiprocessing.set_executable(str(warm / "python"))
    with client(tmp_path_factory.mktemp("service")) as made:
        yield made


def client(folder: Path, limits: Limits | None = None, **different: Any) -> TestClient:
    places = [folder / "pieces", folder / "recordings"]
    for place in places:
        place.mkdir()
    words = {"most_waiting": WAITING, "room": 2**30} | different
    jobs = Jobs(places[0], {"slow": Child(Slow)}, **words)
    recordings = Recordings(places[1], Child(Reads), room=words["room"])
    app = make_app(jobs, recordings, limits or Limits(upload_bytes=1000))
    return TestClient(app, "http://localhost:8000", raise_server_exceptions=False)


def ask(service: TestClient, prompt: str, **more: Any) -> Any:
    answer = service.post("/v1/music", json={"prompt": prompt, "seconds": 1.0, **more})
    assert answer.status_code == 202, answer.text
    return answer.json()["jobs"]


def ended(service: TestClient, job: Any) -> Any:
    """The piece when it has ended, by its events."""
    with service.stream("GET", f"/v1/jobs/{job['id']}/events") as events:
        lines = [line for line in events.iter_lines() if line.startswith("data: ")]
    return json.loads(lines[-1].removeprefix("data: "))


def error(answer: Any, status: int) -> str:
    """The message of an error, which has the one shape that errors have."""
    assert answer.status_code == status, answer.text
    content = answer.json()
    assert set(content) == {"error"}
    assert set(content["error"]) == {"code", "message"}
    message: str = content["error"]["message"]
    assert "Traceback" not in message
    assert "\n" not in message
    return message


def test_a_piece_is_made_and_heard_and_says_from_what(service: TestClient) -> None:
    (job,) = ask(service, "quick piano", seed=7)
    end = ended(service, job)
    assert (end["state"], end["seconds"], end["heard"], end["seed"]) == ("done", 1.0, 1.0, 7)
    assert end["notices"] == ["a notice of quick piano"]
    sound = service.get(f"/v1/jobs/{job['id']}/audio").content
    assert sound.startswith(b"RIFF")
    assert sound.count(BLOCK) >= 1
    for kind in ("wav", "flac"):
        file = service.get(f"/v1/jobs/{job['id']}/file.{kind}")
        assert file.headers["content-disposition"] == f'attachment; filename="musiclm-7.{kind}"'
        assert b"seed 7, bundle f00d" in file.content
    assert service.delete(f"/v1/jobs/{job['id']}").status_code == 204
    assert "any more" in error(service.get(f"/v1/jobs/{job['id']}"), 404)


def test_sound_is_heard_while_it_is_made(service: TestClient) -> None:
    (job,) = ask(service, "piano", seconds=1.0)
    with service.stream("GET", f"/v1/jobs/{job['id']}/audio") as answer:
        content = b"".join(answer.iter_bytes())
    assert len(content) == 44 + 2 * 24_000
    end = ended(service, job)
    assert 0 < end["first_sound_after"] < 1.5


def test_takes_have_seeds_of_their_own_and_wait_in_line(service: TestClient) -> None:
    jobs = ask(service, "piano", takes=3, seed=5, seconds=0.4)
    assert [job["seed"] for job in jobs] == [5, 6, 7]
    assert service.get(f"/v1/jobs/{jobs[2]['id']}").json()["position"] >= 1
    assert [ended(service, job)["state"] for job in jobs] == ["done"] * 3


def test_who_finds_the_line_full_is_told_when_to_come_again(service: TestClient) -> None:
    jobs = ask(service, "piano")
    time.sleep(0.2)  # it is at work, and waits no more
    jobs += ask(service, "piano", takes=WAITING)
    answer = service.post("/v1/music", json={"prompt": "one too many", "seconds": 1})
    assert f"{WAITING} pieces are waiting already" in error(answer, 429)
    assert int(answer.headers["retry-after"]) >= 1
    for job in jobs:
        service.delete(f"/v1/jobs/{job['id']}")
    assert {ended(service, job)["state"] for job in jobs} == {"cancelled"}


@pytest.mark.parametrize("prompt", ["piano", "talk"])
def test_what_is_given_up_makes_room_at_once(service: TestClient, prompt: str) -> None:
    (long,) = ask(service, prompt, seconds=60)
    time.sleep(0.2)
    assert service.delete(f"/v1/jobs/{long['id']}").status_code == 204
    began = time.monotonic()
    (job,) = ask(service, "quick")
    assert ended(service, job)["state"] == "done"
    assert time.monotonic() - began < 5
    assert "given up" in error(service.get(f"/v1/jobs/{long['id']}/audio"), 409)


def test_a_mistake_of_the_users_is_one_line_and_a_dead_process_is_replaced(service: TestClient) -> None:
    (refused,) = ask(service, "refuse")
    assert ended(service, refused)["message"] == "expected something else than this"
    (died,) = ask(service, "die")
    end = ended(service, died)
    assert (end["state"], "has died" in end["message"]) == ("failed", True)
    (job,) = ask(service, "quick")
    assert ended(service, job)["state"] == "done"
    figures = service.get("/metrics").text
    assert "musiclm_process_deaths_total 1" in figures
    assert 'musiclm_pieces_total{state="failed"} 2' in figures


def test_a_recording_is_taken_in_and_gone_on_from(service: TestClient) -> None:
    answer = service.post("/v1/recordings", content=b"sound")
    assert answer.status_code == 201
    recording = answer.json()["recording"]
    message = error(service.post("/v1/music/continue", json={"recording": recording}), 422)
    assert "audio" in message  # these five bytes are none, which the request's own check says
    message = error(service.post("/v1/music/melody", json={"recording": "A" * 16}), 404)
    assert "upload it again" in message


def test_an_upload_harms_nobody(service: TestClient) -> None:
    assert "at most" in error(service.post("/v1/recordings", content=b"x" * 1001), 413)
    assert error(service.post("/v1/recordings", content=b""), 422) == "expected a recording, got nothing"
    assert error(service.post("/v1/recordings", content=b"text"), 422) == "expected audio, it is text"
    assert "has died" in error(service.post("/v1/recordings", content=b"poison"), 422)
    assert service.post("/v1/recordings", content=b"sound").status_code == 201


def test_a_finished_piece_is_a_recording_too(service: TestClient) -> None:
    (job,) = ask(service, "quick", seconds=3)
    ended(service, job)
    for form, more in (
        ("continue", {"seconds": 1}), ("melody", {"prompt": "quick"}),
        ("inpaint", {"regions": [[1.0, 2.0]], "keep": []}),
    ):  # fmt: skip
        answer = service.post(f"/v1/music/{form}", json={"recording": job["id"], **more})
        assert answer.status_code == 202, answer.text
        ended(service, answer.json()["jobs"][0])


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("music", {"prompt": ""}, "empty prompt"),
        ("music", {"prompt": "a", "seconds": 0}, "seconds"),
        ("music", {"prompt": "a", "seconds": 1e9}, "at most"),
        ("music", {"prompt": "a", "seconds": 121}, "at most 120 s"),
        ("music", {"prompt": "a", "values": {"bpm": 7}}, "tempo of 40 to 240"),
        ("music", {"prompt": "a", "values": {"key": "H"}}, "key"),
        ("music", {"prompt": "a", "seed": -1}, "seed"),
        ("music", {"prompt": "a", "takes": 99}, "takes"),
        ("music", {"prompt": "a", "path": "/etc/passwd"}, "path"),
        ("music", {"prompt": "a", "\n": 1}, "not permitted"),
        ("music", {"prompt": "a", "model": "/etc"}, "expected a model of slow"),
        ("music", {"prompt": "a", "story": [{"at": 0, "prompt": "b"}]}, "prompt or a story"),
        ("music", {"story": [{"at": 3, "prompt": "b"}]}, "begin at 0:00"),
        ("music/continue", {"recording": "../../etc/passwd"}, "recording"),
        ("music/inpaint", {"recording": "A" * 16, "regions": "all"}, "regions"),
    ],
)
def test_what_cannot_be_made_is_refused_at_once(service: TestClient, path: str, body: Any, said: str) -> None:
    assert said in error(service.post(f"/v1/{path}", json=body), 422)


JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
FIELDS = ("prompt", "seconds", "seed", "takes", "values", "story", "blend", "recording", "regions", "keep")


@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    path=st.sampled_from(["music", "music/continue", "music/melody", "music/inpaint"]),
    body=st.dictionaries(st.sampled_from(FIELDS), JSON, max_size=5) | JSON,
)
def test_any_body_is_answered_by_an_error_or_a_piece(service: TestClient, path: str, body: Any) -> None:
    answer = service.post(
        f"/v1/{path}", content=json.dumps(body), headers={"content-type": "application/json"}
    )
    if answer.status_code == 202:
        for job in answer.json()["jobs"]:
            service.delete(f"/v1/jobs/{job['id']}")
    else:
        error(answer, answer.status_code)
        assert answer.status_code in (404, 422, 429)


@pytest.mark.parametrize(
    "path", ["/v1/jobs/../../x", "/v1/jobs/%2e%2e%2f%2e%2e", "/page/../app.py", "/page/%2e%2e/app.py"]
)
def test_nothing_outside_is_read(service: TestClient, path: str) -> None:
    answer = service.get(path)
    assert answer.status_code in (404, 422)
    error(answer, answer.status_code)


def test_strangers_are_not_answered(service: TestClient, tmp_path: Path) -> None:
    assert "localhost" in error(service.get("/v1/models", headers={"host": "evil.example"}), 400)
    evil = {"origin": "https://evil.example"}
    assert "own page" in error(service.post("/v1/music", json={"prompt": "a"}, headers=evil), 403)
    own = service.get("/v1/models", headers={"origin": "http://localhost:8000"})
    assert own.status_code == 200
    with client(tmp_path, Limits(token="secret", local=False)) as guarded:
        assert "token" in error(guarded.get("/v1/models"), 401)
        assert "token" in error(guarded.get("/v1/models?token=sécret"), 401)
        assert guarded.get("/v1/models?token=secret").status_code == 200
        assert guarded.get("/v1/models", headers={"authorization": "Bearer secret"}).status_code == 200
        assert guarded.get("/").status_code == 200  # the page itself tells nothing


def test_the_oldest_pieces_make_room(tmp_path: Path) -> None:
    with client(tmp_path, room=120_000) as service:  # a second takes 48,000 bytes
        jobs = []
        for _ in range(3):
            jobs += ask(service, "quick")
            ended(service, jobs[-1])
        kept = [service.get(f"/v1/jobs/{job['id']}").status_code for job in jobs]
        assert kept == [404, 200, 200]
        assert len(list((tmp_path / "pieces").iterdir())) == 2


def test_who_stops_listening_does_not_leave_old_sound_to_the_next(warm: Path) -> None:
    child = Child(Slow)
    with closing(child.ask(Request("piano", 10.0), wanted=lambda: True, seconds=60)) as telling:
        assert next(told for told in telling if told[0] == "sound")
    kinds = list(child.ask(Request("quick", 1.0), wanted=lambda: True, seconds=60))
    assert kinds[0] == ("notice", "a notice of quick")
    assert sum(told[0] == "sound" for told in kinds) == 10
    child.stop()


def test_work_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    child = Child(Slow)
    with pytest.raises(Failed, match=r"took longer than the 0\.2 s"):
        list(child.ask(Request("piano", 10.0), wanted=lambda: True, seconds=0.2))
    child.stop()


def test_a_process_that_cannot_begin_says_why() -> None:
    with pytest.raises(Failed, match=r"^expected a bundle, there is none$"):
        Child(none).start()


def test_the_interface_describes_itself(service: TestClient) -> None:
    described = service.get("/v1/openapi.json").json()
    assert set(described["paths"]) >= {
        "/v1/music", "/v1/music/continue", "/v1/music/melody", "/v1/music/inpaint", "/v1/recordings",
        "/v1/jobs/{id}", "/v1/jobs/{id}/audio", "/v1/jobs/{id}/events", "/v1/models",
    }  # fmt: skip
