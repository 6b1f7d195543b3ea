"""`musiclm serve` as a user starts it: with a tiny model, from a shell, and used by a real browser."""

import json
import re
import shutil
import signal
import socket
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from musiclm import Audio, MusicLM
from musiclm.cli import main
from tests.tiny import melody
from tests.tiny_model import make_bundle

pytest.importorskip("uvicorn")
pytestmark = pytest.mark.slow
# Not `urlopen`, which would keep for later tests that there is no proxy.
DIRECT = urllib.request.build_opener(urllib.request.ProxyHandler({}))
README = Path(__file__).parents[2] / "README.md"
BROWSER = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory, warm: Path) -> Iterator[tuple[str, Path]]:
    """The address of a service, and its bundle."""
    folder = tmp_path_factory.mktemp("served")
    bundle = make_bundle(folder, melody=True, diffusion=True)
    words = [warm / "musiclm", "serve", "--port", "0", "--bundle", bundle, "--device", "cpu"]
    with subprocess.Popen([*map(str, words)], stdout=subprocess.PIPE, text=True, cwd=folder) as run:
        assert run.stdout is not None
        yield run.stdout.readline().strip(), bundle
        run.send_signal(signal.SIGINT)
        assert run.wait(timeout=30) == -signal.SIGINT
        assert run.stdout.read() == ""


def post(address: str, body: bytes, kind: str = "application/json") -> Any:
    request = urllib.request.Request(address, body, {"content-type": kind})
    with DIRECT.open(request, timeout=60) as answer:
        return json.loads(answer.read())


def fetched(address: str) -> bytes:
    try:
        with DIRECT.open(address, timeout=60) as answer:
            content: bytes = answer.read()
    except urllib.error.HTTPError as error:
        pytest.fail(error.read().decode())
    return content


def test_what_is_served_is_what_generate_makes(served: tuple[str, Path], tmp_path: Path) -> None:
    """Asked for as the README does."""
    address, bundle = served
    said = re.search(r"curl localhost:8000/(v1/music) .* -d '(.*)'", README.read_text(encoding="utf-8"))
    assert said
    asked = json.loads(said[2]) | {"seconds": 2.5, "seed": 3}
    (job,) = post(f"{address}{said[1]}", json.dumps(asked).encode())["jobs"]
    (tmp_path / "streamed.wav").write_bytes(fetched(f"{address}v1/jobs/{job['id']}/audio"))
    expected = MusicLM.from_pretrained(bundle, device="cpu").generate(**asked)
    expected.save(tmp_path / "expected.wav")
    streamed, whole = (Audio.load(tmp_path / f"{name}.wav") for name in ("streamed", "expected"))
    assert torch.equal(streamed.waveform, whole.waveform)


def test_a_recording_is_continued_followed_and_mended(served: tuple[str, Path], tmp_path: Path) -> None:
    address, _ = served
    melody(5.0, seed=0).save(tmp_path / "hum.flac")
    taken = post(f"{address}v1/recordings", (tmp_path / "hum.flac").read_bytes(), "application/octet-stream")
    assert taken["seconds"] == 5.0
    for form, more in (
        ("continue", {"seconds": 1.0}),
        ("melody", {"prompt": "a flute", "seconds": 1.0}),
        ("inpaint", {"regions": [[1.0, 2.0]], "keep": []}),
    ):
        (job,) = post(
            f"{address}v1/music/{form}", json.dumps({"recording": taken["recording"], **more}).encode()
        )["jobs"]
        fetched(f"{address}v1/jobs/{job['id']}/audio")
        assert fetched(f"{address}v1/jobs/{job['id']}/file.flac").startswith(b"fLaC"), form


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    with pytest.raises(SystemExit) as stop:
        main(["serve", *words])
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_a_mistake_is_one_line_before_anything_is_loaded(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        assert "expected a free address" in refused(capsys, "--port", port)
    assert "expected a port" in refused(capsys, "--port", "70000")
    assert "expected a bundle" in refused(capsys, "--bundle", "nowhere")
    assert "--waiting of 1 or more" in refused(capsys, "--waiting", "0")
    assert "at most 600" in refused(capsys, "--seconds", "601")
    assert "expected a free address" in refused(capsys, "--host", "203.0.113.7")


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_makes_hears_mends_and_removes(served: tuple[str, Path], tmp_path: Path) -> None:
    """In both themes and two widths: no error in its console, nothing wider than the screen."""
    api = pytest.importorskip("playwright.sync_api")
    expect = api.expect
    address, _ = served
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=BROWSER,
            args=["--no-sandbox", "--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"],
        )
        for scheme, width in (("light", 1000), ("dark", 360)):
            size = {"width": width, "height": 800}
            page = browser.new_page(viewport=size, color_scheme=scheme, reduced_motion="reduce")
            faults: list[str] = []
            page.on(
                "console",
                lambda said, faults=faults: faults.append(said.text) if said.type == "error" else None,
            )
            page.on("pageerror", lambda error, faults=faults: faults.append(str(error)))
            page.goto(address)
            page.fill("#prompt", "")
            page.click("#make")
            page.wait_for_selector("#problem:not(:empty)")
            assert "422" in faults.pop()
            page.click("#die")
            page.fill("#seconds", "3")
            page.click("#make")
            page.wait_for_selector("article .wav:not([hidden])")
            expect(page.locator("article .time")).to_contain_text(
                re.compile(r"^(0\.[3-9]|[12]\.)")
            )  # it plays
            page.click("article .inpaint")
            box = page.locator("#given-wave").bounding_box()
            page.mouse.move(box["x"] + 0.4 * box["width"], box["y"] + 9)
            page.mouse.down()
            page.mouse.move(box["x"] + 0.8 * box["width"], box["y"] + 9)
            page.mouse.up()
            assert [page.input_value(name) for name in ("#from", "#to")] == ["1.2", "2.4"]
            page.click("#make")
            expect(page.locator("article .wav:not([hidden])")).to_have_count(2)
            page.check("[name=way][value=melody]")
            page.click("#hum")
            page.wait_for_timeout(1500)
            page.click("#hum")
            expect(page.locator("#given")).to_have_text(re.compile(r", [\d.]+ s$"))
            page.check("[name=way][value=story]")
            page.fill("#seconds", "20")
            page.click("#make")
            expect(page.locator("article")).to_have_count(3)
            page.click("article .remove")
            expect(page.locator("article")).to_have_count(2)
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            assert faults == []
            page.close()
        browser.close()
