"""The recipe of the default model, with a `musiclm` that trains nothing: what it says to which command."""

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
# Notes its arguments, and leaves a part in the run's folder as a training does.
MUSICLM = """#!/bin/sh
echo "$*" >> "$CALLS"
while [ $# -gt 0 ]; do
	[ "$1" = --trainer.default_root_dir ] && mkdir -p "$2/part" && touch "$2/part/model.yaml"
	shift
done
"""
ENDS = {
    "semantic": "--trainer.max_steps 4000 --trainer.max_time 00:02:45:00",
    "coarse": "--trainer.max_steps 12000 --trainer.max_time 00:00:40:00",
    "fine": "--trainer.max_steps 6000 --trainer.max_time 00:00:12:00",
    "denoiser": "--trainer.max_steps 12000 --trainer.max_time 00:03:30:00",
}


def calls(folder: Path, **settings: str) -> dict[str, str]:
    """The arguments of each `fit`, by the part that it trains."""
    (folder / "bin").mkdir()
    (folder / "bin" / "musiclm").write_text(MUSICLM)
    (folder / "bin" / "musiclm").chmod(0o755)
    noted = folder / "calls"
    own = {"BIN": str(folder / "bin"), "RUNS": str(folder / "runs"), "CALLS": str(noted)}
    command = ["sh", str(ROOT / "scripts" / "default_model.sh")]
    subprocess.run(command, cwd=ROOT, env=os.environ | own | settings, check=True, capture_output=True)
    lines = [line for line in noted.read_text().splitlines() if line.startswith("fit ")]
    return {line.split("configs/", 1)[1].split(".yaml", 1)[0]: line for line in lines}


def test_the_recipe_ends_each_stage_by_the_clock_and_each_tokenizer_by_its_config(
    tmp_path: Path,
) -> None:
    told = calls(tmp_path)
    assert len(told) == 15
    for part, line in told.items():
        if part in ENDS:
            assert f" {ENDS[part]} " in line
        else:
            assert "max_" not in line


@pytest.mark.parametrize("size", ["configs/paper", "configs/tiny"])
def test_a_part_of_another_size_ends_as_the_layer_of_its_size_says(size: str, tmp_path: Path) -> None:
    told = calls(tmp_path, SIZE=size)
    assert ("low_band" in told) == (size == "configs/tiny")  # the paper's trunk has no spectra
    assert len(told) == 12 + (3 if size == "configs/tiny" else 0)
    assert ("denoiser" in told) == ("latents" in told) == (size == "configs/tiny")
    words = f"--data.init_args.captions 0.5 --data.init_args.joint_embedding {tmp_path}/runs/mulan/part"
    assert (words in told["semantic"]) == (size == "configs/tiny")
    for part, line in told.items():
        own = (ROOT / size / f"{part}.yaml").exists()  # MusicLM has neither planner nor score listener
        assert own or part in ("planner", "score_listener")
        assert (f"--config {size}/{part}.yaml" in line) == own
        assert "max_" not in line
