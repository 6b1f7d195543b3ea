"""Bundles from the hub: one try within a limit of time, then one line; what was fetched before is found."""

import socket
import time
from pathlib import Path

import pytest
from huggingface_hub import constants

from musiclm.bundle import Bundle
from musiclm.bundle.hub import download

PATTERNS = ["*.safetensors", "model.yaml"]


@pytest.fixture(autouse=True)
def _cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("musiclm.bundle.hub.ANSWER_SECONDS", 1.0)
    monkeypatch.delenv("HF_HUB_ETAG_TIMEOUT", raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_a_hub_that_never_answers_is_one_line_after_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        started = time.monotonic()
        with pytest.raises(FileNotFoundError, match=r"'some/one' is no folder and could not be fetched"):
            Bundle.find("some/one")
    assert time.monotonic() - started < 3


def test_what_was_fetched_before_is_found_without_a_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")  # nobody listens
    with pytest.raises(FileNotFoundError, match="is there a network, is the id right"):
        download("some/one", PATTERNS)
    repository = tmp_path / "hub" / "models--some--one"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("0" * 40)
    (repository / "snapshots" / ("0" * 40)).mkdir(parents=True)
    assert download("some/one", PATTERNS) == repository / "snapshots" / ("0" * 40)


def test_what_is_no_id_is_refused_without_asking() -> None:
    with pytest.raises(FileNotFoundError, match="is the id right"):
        download("some one/???", PATTERNS)
