"""The sizes that the configurations name: small enough for the bundle by default, the paper's when asked."""

from pathlib import Path

import pytest
import torch
import yaml

from musiclm.bundle import build

CONFIGS = Path(__file__).parents[2] / "configs"


def read(*files: str) -> dict:
    """The part's words, later files over earlier ones."""
    merged: dict = {}
    for file in files:
        part = yaml.safe_load((CONFIGS / file).read_text(encoding="utf-8"))["model"]["init_args"]["part"]
        merged = merge(merged, part)
    return merged


def merge(old: dict, new: dict) -> dict:
    both = {**old, **new}
    for key in old.keys() & new.keys():
        if isinstance(old[key], dict):
            both[key] = merge(old[key], new[key])
    return both


@pytest.mark.parametrize("name", ["semantic", "coarse", "fine"])
def test_configurations_make_stages_of_the_size_they_say(name: str) -> None:
    def millions(*files: str) -> float:
        words = read(*files)
        with torch.device("meta"):
            part = build(words["class_path"], words["init_args"])
        return sum(parameter.numel() for parameter in part.parameters()) / 1e6

    assert millions(f"{name}.yaml") < 7.0  # int8 in a bundle of 40 MiB
    assert millions(f"{name}.yaml", f"tiny/{name}.yaml") < 0.3
    assert millions(f"{name}.yaml", f"paper/{name}.yaml") == pytest.approx(430, rel=0.04)
