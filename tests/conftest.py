"""Fixtures for all tests: seeds, one thread, quiet libraries."""

import os

# faiss, torch and scikit-learn each bring threads of their own, and get in each other's way on two cores
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Lightning still calls what jsonargparse has renamed; the project itself does not
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from tests.tiny import publish_encodec

if TYPE_CHECKING:
    from encodec import EncodecModel


@pytest.fixture(scope="session")
def published_encodec(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, "EncodecModel"]:
    """A file of EnCodec weights in the published format, and the package's own model of them."""
    return publish_encodec(tmp_path_factory.mktemp("published"))


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
