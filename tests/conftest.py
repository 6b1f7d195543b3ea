"""Fixtures for all tests: seeds, one thread, quiet libraries."""

import os

# faiss, torch and scikit-learn each bring threads of their own, and get in each other's way on two cores
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Lightning still calls what jsonargparse has renamed; the project itself does not
os.environ.setdefault("JSONARGPARSE_DEPRECATION_WARNINGS", "off")

import pytest
import torch


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)
    torch.set_num_threads(1)
