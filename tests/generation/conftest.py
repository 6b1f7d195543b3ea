"""A tiny model for the tests of the forms of generation."""

from pathlib import Path

import pytest

from musiclm import MusicLM
from tests.generation.heard import Heard
from tests.tiny_model import make_bundle


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def model(bundle: Path) -> MusicLM:
    return MusicLM.from_pretrained(bundle)


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    return Heard(monkeypatch)
